{#- The local date of an instant. -#}
{% macro local_date(instant) -%}
    cast(timezone('{{ var("local_time_zone") }}', {{ instant }}) as date)
{%- endmacro %}

{#- The instant at which a local date begins. -#}
{% macro local_midnight(date) -%}
    timezone('{{ var("local_time_zone") }}', cast({{ date }} as timestamp))
{%- endmacro %}

{#- The first full hour at which something that happened at `instant` is known. -#}
{% macro known_hour(instant) -%}
    date_trunc('hour', {{ instant }} + interval '59 minutes 59.999999 seconds')
{%- endmacro %}

{#- Minutes since midnight of a clock reading such as 1745; 2400 reads as 0. -#}
{% macro clock_minutes(clock) -%}
    (({{ clock }} // 100) * 60 + {{ clock }} % 100) % 1440
{%- endmacro %}
