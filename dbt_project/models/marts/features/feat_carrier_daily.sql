{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['carrier', 'event_timestamp', 'created_at']
) }}

{{ trailing_day_features('carrier') }}
