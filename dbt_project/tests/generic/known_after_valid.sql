{#- Feature rows that claim to be known before the instant from which they hold. -#}
{% test known_after_valid(model) %}
select *
from {{ model }}
where created_at < event_timestamp
{% endtest %}
