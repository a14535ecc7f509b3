"""Why a step failed, as its reader needs it: the first cause, not the chain of frames around it."""

from __future__ import annotations

import dagster as dg


def why(event: dg.DagsterEvent) -> str:
    """The words of the error that a step failed with.

    Args:
        event: a step failure.
    """
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    # An error of ours says what to do; what it was raised from does not.
    while error is not None and error.cause is not None and "Left untouched: " not in error.message:
        error = error.cause
    return (error.message if error else event.message or "unknown").strip()
