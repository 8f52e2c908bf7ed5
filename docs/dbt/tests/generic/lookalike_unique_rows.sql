{# Rows that have the same values of some columns. #}
{% test lookalike_unique_rows(model, columns) %}
select {{ columns | join(', ') }}, count(*) as times
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
