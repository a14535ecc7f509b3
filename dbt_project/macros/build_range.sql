{#- Restricts a date column to the months of this run, [from_date, to_date), widened by whole days on either side.
    Without the variables everything is in range. -#}
{% macro in_build_range(column, days_before=0, days_after=0) -%}
    {%- if var('from_date', none) -%}
    {{ column }} >= date '{{ var("from_date") }}' - {{ days_before }}
    and {{ column }} < date '{{ var("to_date") }}' + {{ days_after }}
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}
