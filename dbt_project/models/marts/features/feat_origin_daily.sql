{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['origin', 'event_timestamp', 'created_at']
) }}

{{ trailing_day_features('origin') }}
