"""What the next version is made of: the declared windows, until a review has decided on newer ones."""

from __future__ import annotations

from datetime import date, datetime

from assets.features.sets import Window
from assets.monitoring.record import Records
from assets.training.spec import ModelDeclaration
from serving.errors import ClearwayError
from serving.settings import Settings

DECISION_TAG = "clearway/decision"  # of the run that carries a decision out


def decided(model: ModelDeclaration, settings: Settings, decision: str | None = None) -> Window | None:
    """The window of a decision to retrain, or of the newest one; None before one.

    Args:
        decision: id of the review whose decision a run carries out.

    Raises:
        ClearwayError: a record cannot be read, or there is none of this id.
    """
    records = Records(settings.reviews, model.name)
    record = records.retraining()
    if decision and (record is None or record.id != decision):
        record = next((r for r in records.all() if r.id == decision), None)
        if record is None:
            raise ClearwayError(
                f"model {model.name}: there is no record of the review {decision}, which the run is to carry out.",
                untouched="every version.",
                todo="restore the record, or review the period again.",
            )
    if record is None or record.cut is None:
        return None
    return Window(
        date.fromisoformat(record.period),
        datetime.fromisoformat(record.cut),
        datetime.fromisoformat(record.at),
        record.id,
        model.retraining.refit,
    )
