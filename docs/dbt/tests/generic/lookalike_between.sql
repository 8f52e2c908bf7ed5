{# Values that are out of bounds. A score of 1 may be a little above it as a decimal number: it is a 32-bit one. #}
{% test lookalike_between(model, column_name, least, most) %}
select {{ column_name }}
from {{ model }}
where not ({{ column_name }} between {{ least }} - 1e-6 and {{ most }} + 1e-6)
{% endtest %}
