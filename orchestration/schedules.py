"""What runs by the clock."""

from __future__ import annotations

import dagster as dg

from orchestration.jobs import AssetJob


def schedules(publish_events: AssetJob) -> list[dg.ScheduleDefinition]:
    """Prediction events become rows of the lakehouse every quarter of an hour."""
    return [
        dg.ScheduleDefinition(
            name="publish_events_quarter_hourly",
            job=publish_events,
            cron_schedule="*/15 * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Publish what was predicted since the last time.",
        )
    ]
