{#- Schemas are named as declared, so that the published warehouse reads the same from every target. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
