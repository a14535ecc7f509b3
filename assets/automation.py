"""When an asset follows its upstream by itself."""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_

import dagster as dg


def follow_upstream(months_of: Sequence[dg.AssetKey] = ()) -> dg.AutomationCondition:
    """Run a partition whenever its upstream partitions were updated and none of their blocking checks failed.

    It is ``eager``, which looks at no check and, for time partitions, only at the newest; a corrected month is an
    older one.

    Args:
        months_of: for what reads only sources without months: assets that make it run for a month too when all of them
            have it. Nothing upstream of it tells that a month has come, and what joins both would wait for ever.
    """
    condition = dg.AutomationCondition
    due: dg.AutomationCondition = condition.newly_missing() | condition.any_deps_updated()
    if months_of:
        come = [condition.asset_matches(key, condition.newly_updated()) for key in months_of]
        there = [condition.asset_matches(key, ~condition.missing()) for key in months_of]
        due |= condition.missing() & reduce(or_, come) & reduce(and_, there)
    return (
        due.since_last_handled()
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & condition.all_deps_blocking_checks_passed()
    )
