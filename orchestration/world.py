"""What happens outside Clearway during a replay: operations tell, people ask, files come when a month is over."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from assets.domains import Domain
from assets.features.live import LiveMarts
from assets.ingestion.ingest import META
from assets.ingestion.landing import all_drops, put
from assets.ingestion.reading import cast, read_drop
from assets.training.spec import ModelDeclaration
from serving.errors import ClearwayError
from serving.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MOST = 1000  # requests, or events, of one call
DOUBLED, DELAYED = 0.01, 0.02  # shares of the feed that come twice, and out of order
SEED = 13


class World:
    """The record of a domain's sample, from which everything outside is played.

    Args:
        folder: the sample's files are landed there, out of Clearway's sight.
        landing: where Clearway's files are dropped.
        key: bearer key with the scopes predict and feed.
    """

    def __init__(self, domain: Domain, folder: Path, landing: Path, settings: Settings, key: str) -> None:
        self.domain, self._folder, self._landing, self._settings = domain, folder, landing, settings
        self._sample = domain.sample()
        self._sample.land(folder)
        self._client = httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=120)
        self._told: list[tuple[datetime, str, dict[str, Any]]] = []
        self.asked = self.refused = 0

    def drop(self, period: date | None) -> None:
        """Drop the files of a month, or those of the sources without months."""
        for found in all_drops(self._folder):
            if found.period == period:
                put(self._landing, found.source, period, found.path)

    def rows(self, periods: list[date]) -> dict[str, pa.Table]:
        """Rows of these months of every source, typed as the lakehouse publishes them."""
        import pyarrow as pa

        tables: dict[str, list[pa.Table]] = {}
        for found in all_drops(self._folder):
            if found.period is not None and found.period not in periods:
                continue
            typed, _ = cast(read_drop(found.path, self.domain.sources[found.source]), self.domain.sources[found.source])
            kinds = {"_row": pa.int64(), "_known_at": pa.timestamp("us", "UTC")}
            for name in META:
                typed = typed.append_column(name, pa.nulls(typed.num_rows, kinds.get(name, pa.string())))
            if found.period is not None:
                typed = typed.append_column("_period", pa.array([found.period] * typed.num_rows, pa.date32()))
            tables.setdefault(found.source, []).append(typed)
        return {source: pa.concat_tables(parts) for source, parts in tables.items()}

    def begin(self, period: date) -> None:
        """Take up what operations tell in a month; some of it twice, some of it late and so out of order."""
        if not hasattr(self._sample, "events"):
            return
        chance = random.Random(f"{SEED}-{period}")
        told = list(self._sample.events(self._folder, period))
        told += [event for event in told if chance.random() < DOUBLED]
        coming = [(at + timedelta(minutes=45 * (chance.random() < DELAYED)), at, s, r) for at, s, r in told]
        coming.sort(key=lambda event: (event[0], event[1], event[2]))
        # What the month before had still to tell comes first.
        self._told += [(reaches, source, {"known_at": at.isoformat(), "record": record})
                       for reaches, at, source, record in coming]  # fmt: skip
        self._told.sort(key=lambda event: event[0])

    def tell(self, now: datetime) -> int:
        """Push everything that operations know at ``now``; returns the number of events."""
        end = bisect_left(self._told, now, key=lambda event: event[0])
        due, self._told = self._told[:end], self._told[end:]
        by_source: dict[str, list[dict[str, Any]]] = {}
        for _, source, event in due:
            by_source.setdefault(source, []).append(event)
        for source, events in by_source.items():
            for start in range(0, len(events), MOST):
                self._post(f"/v1/feeds/{source}", events[start : start + MOST])
        return len(due)

    def ask(self, model: str, requests: list[dict[str, Any]]) -> None:
        """Ask for predictions; a refusal is counted and asked no more."""
        for start in range(0, len(requests), MOST):
            part = requests[start : start + MOST]
            self.asked += len(part)
            try:
                self._post(f"/v1/predictions/{model}", part)
            except ClearwayError:
                self.refused += len(part)

    def _post(self, path: str, content: Any) -> None:
        problem = ""
        for _ in range(3):  # a version that is switched to, or a server that restarts, may cost a call
            try:
                response = self._client.post(self._settings.gateway_url + path, json=content)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code < 300:
                return
            problem = f"{response.status_code}: {response.text[:300]}"
            if response.status_code < 500:
                break
        raise ClearwayError(f"{path} answered {problem}")

    def close(self) -> None:
        self._client.close()


class Month:
    """What is asked in a month, hour by hour, and the feature rows of that time.

    Args:
        marts: over the sources' rows of this month and the one before.
    """

    def __init__(self, world: World, period: date, marts: LiveMarts, features: list[str]) -> None:
        domain = world.domain
        before = date(period.year - (period.month == 1), (period.month - 2) % 12 + 1, 1)
        found = marts.compute(world.rows([before, period]), [*features, *asked_of(domain)])
        self.features = {name: found[name] for name in features}
        self.start, self.end = domain.bounds(period)
        self._asked = {m.name: _requests(m, found[_asked_of(m)], self.start, self.end)
                       for m in domain.models.values()}  # fmt: skip

    def hours(self) -> Iterator[datetime]:
        hour = self.start
        while hour < self.end:
            yield hour
            hour += timedelta(hours=1)

    def asked(self, model: str, hour: datetime) -> list[dict[str, Any]]:
        """Requests whose prediction time lies in the hour that begins then."""
        return self._asked[model].get(hour, [])


def asked_of(domain: Domain) -> list[str]:
    """The dbt models whose rows are asked about, some of which never get a label."""
    return sorted({_asked_of(m) for m in domain.models.values()})


def _asked_of(model: ModelDeclaration) -> str:
    return model.examples.requests or model.examples.model


def _requests(
    model: ModelDeclaration, examples: pd.DataFrame, start: datetime, end: datetime
) -> dict[datetime, list[dict[str, Any]]]:
    from serving.models.inputs import prediction_times

    rows = examples.drop_duplicates(model.examples.id)
    rows = rows.assign(_time=prediction_times(model.serving_spec(), rows))
    rows = rows[(rows["_time"] >= start) & (rows["_time"] < end)].sort_values("_time", kind="stable")
    fields = [f.name for f in model.request]
    instants = {f.name for f in model.request if f.type == "timestamp"}
    found: dict[datetime, list[dict[str, Any]]] = {}
    for row in rows[[*fields, "_time", model.examples.id]].to_dict("records"):
        request = {name: _plain(row[name], name in instants) for name in fields}
        request = {name: value for name, value in request.items() if value is not None}
        hour = row["_time"].to_pydatetime().replace(minute=0, second=0, microsecond=0)
        found.setdefault(hour, []).append({**request, "request_id": str(row[model.examples.id])})
    return found


def _plain(value: Any, instant: bool) -> Any:
    if value is None or value != value:
        return None
    if instant:
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


def months(domain: Domain, days: int | None) -> list[date]:
    """The months that are replayed: from the end of the training months on, as many as ``days`` reach into."""
    first = min(m.train.end for m in domain.models.values())
    found = [p for p in domain.periods if p >= first]
    if days is None:
        return found
    end = domain.bounds(first)[0] + timedelta(days=days)
    return [p for p in found if domain.bounds(p)[0] < end]
