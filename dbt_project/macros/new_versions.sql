{#- The rows of `computed` that say something new.

    On a first build that is every row. Later a row is written only when its values differ from the newest version of
    the same `key`. If what changed carries no later `version` instant itself (a row that left the window, or left
    the source, takes its evidence with it), the change counts as known when the newest correction in the build range
    became known: later is safe, earlier would leak. With no correction at all the row is a first one, only completed,
    and is rewritten in place.

    Arguments: `computed` and `corrections` name CTEs (`corrections` has one column, known_at); `key` and `values`
    are lists of columns; `version` is the column that tells versions of a key apart; `within` is a column that never
    differs between versions of a key, so that older rows need not be read. -#}
{% macro new_versions(computed, key, version, values, within, corrections='corrections') -%}
{%- if is_incremental() %}
select
    {% for column in key %}computed.{{ column }}, {% endfor -%}
    case
        when newest.{{ version }} is null then computed.{{ version }}
        when computed.{{ version }} > newest.{{ version }} then computed.{{ version }}
        else greatest(newest.{{ version }}, (select max(known_at) from {{ corrections }}))
    end as {{ version }},
    {% for column in values %}computed.{{ column }}{{ ", " if not loop.last }}{% endfor %}
from {{ computed }} as computed
left join (
    select * from {{ this }}
    where {{ within }} >= (select min({{ within }}) from {{ computed }})
    qualify row_number() over (partition by {{ key | join(', ') }} order by {{ version }} desc) = 1
) as newest
    on {% for column in key %}computed.{{ column }} = newest.{{ column }}{{ " and " if not loop.last }}{% endfor %}
where newest.{{ version }} is null
    {% for column in values %}or computed.{{ column }} is distinct from newest.{{ column }}
    {% endfor -%}
{%- else %}
select
    {% for column in key %}{{ column }}, {% endfor -%}
    {{ version }},
    {% for column in values %}{{ column }}{{ ", " if not loop.last }}{% endfor %}
from {{ computed }}
{%- endif %}
{%- endmacro %}
