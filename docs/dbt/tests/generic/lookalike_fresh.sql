{# A release that is too old, or none: its id begins with its time in UTC, as 20261122T171423. #}
{% test lookalike_fresh(model, max_age_days) %}
{% set oldest = modules.datetime.datetime.now(modules.pytz.utc) - modules.datetime.timedelta(days=max_age_days | float) %}
select max(release_id) as release_id
from {{ model }}
having coalesce(max(release_id), '') < '{{ oldest.strftime("%Y%m%dT%H%M%S") }}'
{% endtest %}
