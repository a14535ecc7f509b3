{#- When rows were removed from these sources' months in the build range, in the form of a `corrections` CTE: a removed
    row cannot say itself when its removal became known. -#}
{% macro removals(sources, days_before=0, days_after=0) -%}
    select known_at
    from {{ source('clearway', 'removals') }}
    where
        source in ('{{ sources | join("', '") }}')
        -- A month is named by its first day, and reaches into the range until its last.
        and {{ in_build_range('period', days_before=days_before + 31, days_after=days_after) }}
{%- endmacro %}
