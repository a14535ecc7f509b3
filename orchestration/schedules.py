"""What runs by the clock."""

from __future__ import annotations

import dagster as dg

from orchestration.jobs import AssetJob


def schedules(publish_events: AssetJob, freshness: AssetJob) -> list[dg.ScheduleDefinition]:
    """Prediction events become rows of the lakehouse every quarter of an hour; once a day it is seen what is late."""
    return [
        dg.ScheduleDefinition(
            name="publish_events_quarter_hourly",
            job=publish_events,
            cron_schedule="*/15 * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Publish what was predicted since the last time.",
        ),
        dg.ScheduleDefinition(
            name="freshness_daily",
            job=freshness,
            cron_schedule="0 6 * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="See whether every period that was due is there.",
        ),
    ]
