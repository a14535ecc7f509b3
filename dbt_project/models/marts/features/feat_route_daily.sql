{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['route', 'event_timestamp', 'created_at']
) }}

{{ trailing_day_features('route') }}
