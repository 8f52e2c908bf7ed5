{# Items of one table that are in another one, too. #}
{% test lookalike_not_in_both(model, other) %}
select item_id
from {{ model }}
where item_id in (select item_id from {{ other }})
{% endtest %}
