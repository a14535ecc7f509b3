select
    tailnum,
    year as year_built,
    type as aircraft_type,
    -- Repair: one name for one manufacturer.
    case
        when manufacturer in ('AIRBUS', 'AIRBUS INDUSTRIE') then 'AIRBUS'
        when manufacturer in ('MCDONNELL DOUGLAS', 'MCDONNELL DOUGLAS AIRCRAFT CO', 'MCDONNELL DOUGLAS CORPORATION')
            then 'MCDONNELL DOUGLAS'
        when manufacturer in ('CANADAIR', 'CANADAIR LTD') then 'CANADAIR'
        else manufacturer
    end as manufacturer,
    model,
    engines,
    seats,
    engine as engine_type
from {{ source('raw', 'planes') }}
