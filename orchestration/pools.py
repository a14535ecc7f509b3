"""Two mendings of how Dagster 1.13 waits for a place in a pool.

A step that asks for a place while the last holder gives it back can be noted as waiting when nobody is left to hand it
on, and then waits for ever. And a step that waits in a run of one process asks without a pause: a core is busy.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage


def mend() -> None:
    """Mend both in this process; a second call changes nothing."""
    if not hasattr(SqlEventLogStorage.claim_concurrency_slot, "__wrapped__"):
        SqlEventLogStorage.claim_concurrency_slot = _claiming(SqlEventLogStorage.claim_concurrency_slot)  # type: ignore[method-assign]
        InstanceConcurrencyContext.interval_to_next_pending_claim_check = _pause  # type: ignore[method-assign]


def _claiming(original: Any) -> Any:
    @functools.wraps(original)
    def claim(
        self: SqlEventLogStorage, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> Any:
        status = original(self, concurrency_key, run_id, step_key, priority)
        if not status.is_assigned and self.has_unassigned_slots(concurrency_key):
            # Whoever waits longest at the highest priority gets it; the rows of places keep it to one.
            self.assign_pending_steps([concurrency_key])
            status = original(self, concurrency_key, run_id, step_key, priority)
        return status

    return claim


def _pause(self: InstanceConcurrencyContext) -> float:
    """Seconds to the next time that a waiting step has to ask."""
    return max(0.0, min(self._pending_timeouts.values(), default=0.0) - time.time())
