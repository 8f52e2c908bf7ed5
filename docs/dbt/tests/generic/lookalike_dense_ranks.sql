{# Items whose ranks are not 1, 2, 3, ... #}
{% test lookalike_dense_ranks(model) %}
select item_id
from {{ model }}
group by item_id
having min(rank) <> 1 or max(rank) <> count(*) or count(distinct rank) <> count(*)
{% endtest %}
