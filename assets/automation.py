"""When an asset follows its upstream by itself."""

import dagster as dg


def follow_upstream() -> dg.AutomationCondition:
    """Run a partition whenever its upstream partitions were updated and none of their blocking checks failed.

    ``eager`` alone looks at no check and, for time partitions, only at the newest; a corrected month is an older one.
    """
    return (
        dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
    )
