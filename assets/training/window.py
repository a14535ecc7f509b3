"""What the next version is made of: the declared windows, until a review has decided on newer ones."""

from __future__ import annotations

from datetime import date, datetime

from assets.features.sets import Window
from assets.monitoring.record import Records
from assets.training.spec import ModelDeclaration
from serving.settings import Settings


def decided(model: ModelDeclaration, settings: Settings) -> Window | None:
    """The window of the newest decision to retrain; None before one.

    Raises:
        ClearwayError: a record cannot be read.
    """
    record = Records(settings.reviews, model.name).retraining()
    if record is None or record.cut is None:
        return None
    return Window(
        date.fromisoformat(record.period),
        datetime.fromisoformat(record.cut),
        datetime.fromisoformat(record.at),
        record.id,
        model.retraining.refit,
    )
