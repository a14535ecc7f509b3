select * from {{ ref('stg_planes') }}
