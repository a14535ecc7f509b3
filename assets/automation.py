"""When an asset follows its upstream by itself."""

from collections.abc import Sequence

import dagster as dg


def follow_upstream(months_of: Sequence[dg.AssetKey] = ()) -> dg.AutomationCondition:
    """Run a partition whenever its upstream partitions were updated and none of their blocking checks failed.

    It is ``eager``, which looks at no check and, for time partitions, only at the newest; a corrected month is an
    older one.

    Args:
        months_of: for what reads only sources without months: assets whose update makes it run for that month too, if
            it has none. Nothing upstream of it tells that a month has come, and what joins both would wait for ever.
    """
    condition = dg.AutomationCondition
    due: dg.AutomationCondition = condition.newly_missing() | condition.any_deps_updated()
    for key in months_of:
        due |= condition.missing() & condition.asset_matches(key, condition.newly_updated())
    return (
        due.since_last_handled()
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & condition.all_deps_blocking_checks_passed()
    )
