{# Items that are similar to themselves. #}
{% test lookalike_not_itself(model) %}
select item_id
from {{ model }}
where item_id = similar_item_id
{% endtest %}
