"""A report for every month that a model's stable version served, made again only when what it is made of changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.declared import fingerprint
from assets.domains import Domain
from assets.ingestion.lakehouse import Lakehouse
from assets.monitoring.drift import LABEL, Comparison, compare, without_values
from assets.monitoring.served import current_frame, documents, kinds, labels, reference_frame, served
from assets.training.spec import ModelDeclaration
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError
from serving.models.model import TabularModel
from serving.models.registry import resolve
from serving.rollout.read import read_state
from serving.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

CODE_VERSION = "1"


@dataclass(frozen=True)
class MonthReport:
    """What is kept beside a month's page.

    Attributes:
        month: of the prediction time, YYYY-MM.
        path: the page.
        facts: JSON: ``rows`` that were served, ``compared`` of them, ``labelled`` of these, ``score`` and ``label`` as
            columns or None, ``features`` a list of columns (:class:`assets.monitoring.drift.ColumnDrift`),
            ``quality``, figures ``reference`` and ``current`` or None, ``without_values``: inputs not compared because
            one side had no value at all.
        new: False when it was made before from the same events, labels and declaration.
    """

    month: str
    path: Path
    facts: dict[str, Any]
    new: bool


@dataclass(frozen=True)
class Monitored:
    """Reports of one version, by month; ``version`` is None before the first release.

    ``problems`` says of a month why it has no report. A report explains and decides nothing, so one that fails is told
    and holds up no review.
    """

    version: str | None
    months: tuple[MonthReport, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)


class _Reference:
    """The version and its reference, read once and only when a report is to be made."""

    def __init__(self, model: ModelDeclaration, version: str, training_sets: Path, settings: Settings) -> None:
        self._model, self._folder = model, training_sets
        self.artifact = resolve(model.name, version, settings)

    @cached_property
    def version(self) -> TabularModel:
        return TabularModel.load(self.artifact, os.cpu_count() or 1)

    @cached_property
    def frame(self) -> pd.DataFrame:
        return reference_frame(self._model, self.version, self._folder)


def monitor(
    domain: Domain,
    manifest: Manifest,
    model: ModelDeclaration,
    lakehouse: Lakehouse,
    warehouse_file: Path,
    training_sets: Path,
    settings: Settings,
    progress: Callable[[str], None],
    until: date | None = None,
) -> Monitored:
    """Write the missing reports of the stable version below ``settings.reports``, and return all of them.

    Args:
        warehouse_file: holds the mart of predictions, for labels; it need not exist.
        training_sets: folder of :mod:`assets.features.training_set`.
        until: the newest month that is wanted; what has just begun is not reported for a review of the one before.

    Raises:
        ClearwayError: the version or the events cannot be read.
    """
    state = read_state(model.name, settings)
    if not state.stable:
        return Monitored(None)
    version = state.arms[state.stable].version
    rows = served(lakehouse, model.name, version, domain.zone)
    if rows is None:
        return Monitored(version)
    known = labels(manifest, model, warehouse_file, version)
    folder = settings.reports / model.name / version
    found: dict[str, MonthReport] = {}
    problems: dict[str, str] = {}
    due: dict[str, tuple[str, int, pd.DataFrame]] = {}
    for month, part in rows.groupby("month"):
        chosen = part if len(part) <= model.monitoring.sample else _draw(part, model)
        truth = [known.get(key) for key in zip(chosen["arm"], chosen["request_id"], strict=True)]
        declared = model.monitoring.model_dump(mode="json")
        key = fingerprint([CODE_VERSION, version, declared, len(part), list(chosen["event_id"]), truth])
        page = folder / f"{month}.html"
        kept = _kept(page, key)
        if kept is not None:
            found[str(month)] = MonthReport(str(month), page, kept, False)
        elif until is None or str(month) <= f"{until:%Y-%m}":
            due[str(month)] = (key, len(part), chosen)
    if due:
        reference = _Reference(model, version, training_sets, settings)
        asked = documents(lakehouse, {ident for *_, chosen in due.values() for ident in chosen["event_id"]})
        for number, (month, (key, count, chosen)) in enumerate(due.items(), 1):
            progress(f"{model.name}, version {version}: {month}, report {number} of {len(due)}")
            try:
                current = current_frame(reference.version.spec, chosen, asked, known)
                facts, html = _report(model, reference, current, month, key, count)
                report = MonthReport(month, folder / f"{month}.html", facts, True)
                _write(report, html)
                found[month] = report
            except Exception as error:  # Evidently and what it stands on raise their own
                problems[month] = error.what if isinstance(error, ClearwayError) else f"{type(error).__name__}: {error}"
                progress(f"{model.name}, version {version}: {month} has no report: {problems[month]}")
    return Monitored(version, tuple(found[month] for month in sorted(found)), problems)


def _draw(part: pd.DataFrame, model: ModelDeclaration) -> pd.DataFrame:
    return part.sample(model.monitoring.sample, random_state=model.monitoring.seed).sort_index()


def _report(
    model: ModelDeclaration, reference: _Reference, current: pd.DataFrame, month: str, key: str, count: int
) -> tuple[dict[str, Any], bytes]:
    spec = reference.version.spec
    # A feature that stops arriving is worth a report, not a reason for having none.
    empty = sorted({*without_values(reference.frame, kinds(spec)), *without_values(current, kinds(spec))})
    compared: Comparison = compare(
        reference.frame.drop(columns=empty),
        current.drop(columns=empty),
        {name: kind for name, kind in kinds(spec).items() if name not in empty},
        model.monitoring.sample,
        model.monitoring.seed,
        spec.threshold,
    )
    facts = {
        "key": key,
        "month": month,
        "rows": count,
        "compared": compared.rows_current,
        "reference_rows": compared.rows_reference,
        "labelled": int(current[LABEL].notna().sum()),
        "drifted_share": compared.drifted_share,
        "features": [asdict(column) for column in compared.features],
        "score": asdict(compared.score),
        "label": asdict(compared.label) if compared.label else None,
        "quality": asdict(compared.quality),
        "reference": asdict(compared.reference) if compared.reference else None,
        "current": asdict(compared.current) if compared.current else None,
        "without_values": empty,
    }
    # As they are read back from their file.
    return json.loads(json.dumps(facts)), compared.html


def _kept(page: Path, key: str) -> dict[str, Any] | None:
    beside = page.with_suffix(".json")
    if not (page.exists() and beside.exists()):
        return None
    facts: dict[str, Any] = json.loads(beside.read_text())
    return facts if facts["key"] == key else None


def _write(report: MonthReport, html: bytes) -> None:
    """The page first: figures without their page would be taken for a finished report."""
    report.path.parent.mkdir(parents=True, exist_ok=True)
    beside = report.path.with_suffix(".json")
    for path, content in ((report.path, html), (beside, json.dumps(report.facts, indent=1).encode())):
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        os.replace(part, path)
