{# The releases, where there are several. #}
{% test lookalike_one_release(model) %}
select release_id
from {{ model }}
where (select count(distinct release_id) from {{ model }}) > 1
group by release_id
{% endtest %}
