"""What a version served and what it was trained on, as frames of the same columns.

Columns are the version's inputs, as :mod:`serving.models.inputs` derives them for training and for serving alike, a
category by its text; ``score``; and ``label``, 1, 0, or NaN where it is not known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from assets.ingestion.events import TABLE
from assets.ingestion.lakehouse import Lakehouse
from assets.monitoring.drift import LABEL, SCORE, Kind, sample
from assets.training.spec import ModelDeclaration
from assets.warehouse.ledger import reading
from assets.warehouse.manifest import Manifest, Model
from serving.errors import ClearwayError
from serving.models.inputs import Matrix, derive
from serving.models.model import TabularModel
from serving.models.spec import ModelSpec
from serving.rollout.smoke import CALLER

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("model", "arm", "request_id")


def served(lakehouse: Lakehouse, model: str, version: str, zone: ZoneInfo) -> pd.DataFrame | None:
    """Every answer that a version gave to users once, without its request; None when there is none.

    Users ask for no smoke tests. Of a request that was sent again under its id the first answer counts, as in the mart
    of predictions.

    Returns:
        ``event_id``, ``arm``, ``request_id``, ``caller``, ``score``, ``month`` (YYYY-MM of the prediction time, by the
        domain's clock), ordered by ``event_id``.
    """
    from pyiceberg.expressions import And, EqualTo

    table = lakehouse.load(TABLE)
    if table is None:
        return None
    fields = ("event_id", *IDENTITY, "caller", "served_at", "prediction_time", "score")
    only = And(EqualTo("model", model), EqualTo("version", version))  # type: ignore[call-arg,arg-type]
    rows = table.scan(row_filter=only, selected_fields=fields).to_pandas()
    rows = rows[rows["caller"] != CALLER]
    rows = rows.sort_values(["served_at", "event_id"]).drop_duplicates(list(IDENTITY))
    rows = rows.dropna(subset=["prediction_time", "score"])
    if rows.empty:
        return None
    local = rows["prediction_time"].dt.tz_convert(zone)
    found: pd.DataFrame = rows.assign(month=local.dt.strftime("%Y-%m")).sort_values("event_id")
    return found.drop(columns=["served_at", "prediction_time", "model"]).reset_index(drop=True)


def documents(lakehouse: Lakehouse, ids: set[str]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Request and features of these events, by event id; of all others none is kept in memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = lakehouse.load(TABLE)
    assert table is not None
    wanted, found = pa.array(sorted(ids), pa.string()), {}
    for batch in table.scan(selected_fields=("event_id", "request", "features")).to_arrow_batch_reader():
        kept = batch.filter(pc.is_in(batch.column("event_id").cast(pa.string()), value_set=wanted)).to_pydict()
        for ident, request, features in zip(*(kept[n] for n in ("event_id", "request", "features")), strict=True):
            found[ident] = (json.loads(request or "{}"), json.loads(features or "{}"))
    return found


def labels(
    manifest: Manifest, model: ModelDeclaration, warehouse_file: Path, version: str
) -> dict[tuple[str, str], int]:
    """Known labels by arm and request id, from the domain's mart of predictions; none without such a mart."""
    mart = prediction_mart(manifest, model)
    if mart is None or not warehouse_file.exists():
        return {}
    with reading(warehouse_file) as connection:
        there = connection.execute(
            "select count(*) from information_schema.tables where table_schema = ? and table_name = ?",
            [mart.schema, mart.name],
        ).fetchone()
        if not there or not there[0]:
            return {}
        name = model.examples.label
        rows = connection.execute(
            f'select arm, request_id, "{name}"::integer from "{mart.schema}"."{mart.name}"'
            f' where model = ? and model_version = ? and "{name}" is not null',
            [model.name, version],
        ).fetchall()
    return {(arm, request): label for arm, request, label in rows}


def prediction_mart(manifest: Manifest, model: ModelDeclaration) -> Model | None:
    """The served model that has the label of the examples beside model, version, arm and request id."""
    needed = {*IDENTITY, "model_version", model.examples.label}
    return next((found for found in manifest.served.values() if needed <= found.columns.keys()), None)


def current_frame(
    spec: ModelSpec,
    rows: pd.DataFrame,
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]],
    known: dict[tuple[str, str], int],
) -> pd.DataFrame:
    """Rows of :func:`served` with what was asked, derived as the server did."""
    import pandas as pd

    pairs = [found[ident] for ident in rows["event_id"]]
    requests = requests_frame(spec, [pair[0] for pair in pairs])
    features = pd.DataFrame([pair[1] for pair in pairs], columns=list(dict.fromkeys(spec.features)))
    truth = [known.get(key, np.nan) for key in zip(rows["arm"], rows["request_id"], strict=True)]
    frame = _named(spec, derive(spec.inputs, requests, features))
    return frame.assign(**{SCORE: rows["score"].to_numpy(np.float64), LABEL: np.array(truth, dtype=np.float64)})


def requests_frame(spec: ModelSpec, asked: list[dict[str, Any]]) -> pd.DataFrame:
    """Requests of events as rows, their instants as instants."""
    import pandas as pd

    requests = pd.DataFrame(asked, columns=[f.name for f in spec.request])
    for field in spec.request:
        if field.type == "timestamp":
            requests[field.name] = pd.to_datetime(requests[field.name], utc=True, format="ISO8601")
    return requests


def reference_frame(model: ModelDeclaration, version: TabularModel, folder: Path) -> pd.DataFrame:
    """A sample of what the version was trained on, or of the declared months of its two sets, with its own scores.

    Raises:
        ClearwayError: the version does not name its set, the set is not there, or has no row of these months.
    """
    import pandas as pd

    spec, declared = version.spec, model.monitoring
    both = declared.reference is not None or spec.metadata.get("refit")
    names = ["training_set", "evaluation_set"] if both else ["training_set"]
    paths = [folder / model.name / f"{spec.metadata.get(name)}.parquet" for name in names]
    if missing := [str(path) for path in paths if not path.exists()]:
        raise ClearwayError(
            f"model {model.name}: the version's {' and '.join(names)} cannot be read: {', '.join(missing)}.",
            untouched="every report.",
            todo="put the file back, or release a version that is trained here.",
        )
    rows = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    if declared.reference is not None:
        period = pd.to_datetime(rows["_period"]).dt.date
        rows = rows[(period >= declared.reference.start) & (period < declared.reference.end)]
        if rows.empty:
            raise ClearwayError(
                f"model {model.name}: field monitoring.reference: the version's sets have no row of these months.",
                untouched="every report.",
                todo="name months that it was trained or judged on.",
            )
    rows = sample(rows, declared.sample, declared.seed)
    matrix = derive(spec.inputs, rows, rows)
    return _named(spec, matrix).assign(
        **{SCORE: version.predict_proba(matrix), LABEL: rows["_label"].to_numpy(np.float64)}
    )


def kinds(spec: ModelSpec) -> dict[str, Kind]:
    return {item.name: item.kind for item in spec.inputs}


def _named(spec: ModelSpec, matrix: Matrix) -> pd.DataFrame:
    """The matrix with the texts of its categories in place of their codes."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for position, item in enumerate(spec.inputs):
        values = matrix[:, position]
        if item.categories is None:
            columns[item.name] = values
            continue
        texts = np.array([*item.categories, None], dtype=object)
        columns[item.name] = texts[np.where(np.isnan(values), len(item.categories), values).astype(int)]
    return pd.DataFrame(columns)
