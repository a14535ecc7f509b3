"""The domain's alerts, and what a review has people told."""

from __future__ import annotations

from collections.abc import Callable

from assets.domains import Domain
from assets.monitoring.alerts import Alert, Alerts
from assets.monitoring.record import Record
from serving.settings import Settings


def alerts(domain: Domain, settings: Settings, log: Callable[[str], None]) -> Alerts:
    """The alerts of a home, to the sinks that the domain declares."""
    return Alerts(settings.alerts, domain.declared.alerts, log)


def keep(record: Record, kept: Alerts) -> None:
    """Keep the alert of a review that has one; once, however often it is asked for."""
    if record.action == "alert" or record.raised:
        kept.keep(alert_of(record))


def tell(record: Record, kept: Alerts) -> list[str]:
    """Keep the alert of a review that has one, and try to deliver it; a problem a sink that has not got it."""
    keep(record, kept)
    return [f"alert {d.alert} has not reached {d.sink}: {d.problem}" for d in kept.deliver() if d.problem]


def alert_of(record: Record) -> Alert:
    """What people are told of a review; the same review is the same alert."""
    raised = "; ".join(
        f"{a['name']}: evidence {a['evidence']:.0f} of {a['threshold']:.0f}, since {a['raised_on']}"
        for a in record.raised
    )
    what = "needs a person" if record.action == "alert" else "raised an alarm"
    alarm = f"\nAlarms: {raised}." if raised else ""
    return Alert(
        f"review-{record.id}",
        record.at,
        f"{record.model}: the review of {record.period[:7]} {what}",
        f"Decision: {record.action}, since {record.why}.{alarm}\n"
        f"Version {record.champion} goes on answering. Look at the asset reviews/{record.model}, partition "
        f"{record.period}; decide again by running it with the config again: true.",
        {**record.numbers, **{f"log_loss_{k}": v for k, v in record.risk.get("log_loss", {}).items() if k != "name"}},
    )
