"""A domain: the folder of declared files that says what Clearway carries. ``CLEARWAY_DOMAIN`` names it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from assets.declared import Declared, read, read_folder
from assets.ingestion.spec import Source
from assets.monitoring.alerts import LogSink, Sink
from assets.training.spec import ModelDeclaration
from serving.errors import DeclarationError
from serving.settings import get_settings


class Partitions(Declared):
    """The periods of the domain: calendar months from ``start`` up to, and without, ``end``."""

    cadence: Literal["monthly"] = "monthly"
    start: date
    end: date

    @model_validator(mode="after")
    def _whole(self) -> Partitions:
        if self.start.day != 1 or self.end.day != 1 or self.start >= self.end:
            raise ValueError("start and end are first days of months, and start is before end")
        return self


class DomainFile(Declared):
    """``domain.yaml``: names, time and the places of the domain's other parts, relative to the file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str
    owner: str = Field(pattern=r"^(team:[\w-]+|[\w.+-]+@[\w.-]+)$")
    timezone: str
    partitions: Partitions
    dbt_project: str
    feature_repo: str
    hour_price: float = Field(default=0.05, ge=0, description="of one hour of a step, in the currency of your books")
    alerts: tuple[Sink, ...] = Field(default=(LogSink(),), description="where alerts to people go")
    sample: str | None = Field(default=None, description="Python file whose land(folder) drops the sample's files")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError("an IANA time zone such as America/New_York") from error
        return value


@dataclass(frozen=True)
class Domain:
    """Everything a domain declares, validated."""

    folder: Path
    declared: DomainFile
    sources: dict[str, Source]
    models: dict[str, ModelDeclaration]

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def owner(self) -> str:
        return self.declared.owner

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.declared.timezone)

    @property
    def dbt_project(self) -> Path:
        return (self.folder / self.declared.dbt_project).resolve()

    @property
    def feature_repo(self) -> Path:
        return (self.folder / self.declared.feature_repo).resolve()

    @property
    def periods(self) -> list[date]:
        """First days of all periods, in order."""
        found, day = [], self.declared.partitions.start
        while day < self.declared.partitions.end:
            found.append(day)
            day = following(day)
        return found

    def bounds(self, period: date) -> tuple[datetime, datetime]:
        """The period as instants in UTC: its first, and the first after it, by the domain's own midnight."""
        start, end = (datetime(d.year, d.month, 1, tzinfo=self.zone) for d in (period, following(period)))
        return start.astimezone(UTC), end.astimezone(UTC)

    def sample(self) -> ModuleType:
        """The module that lands the domain's sample.

        Raises:
            DeclarationError: the domain declares none.
        """
        if self.declared.sample is None:
            raise DeclarationError(
                f"{self.folder / 'domain.yaml'}: field sample: this domain has no sample to land.",
                todo="drop files under landing/, or declare a sample.",
            )
        spec = importlib.util.spec_from_file_location(f"{self.name}_sample", self.folder / self.declared.sample)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def following(period: date) -> date:
    """The first day of the next month."""
    return date(period.year + period.month // 12, period.month % 12 + 1, 1)


def load_domain(folder: Path) -> Domain:
    """Read and validate a domain's folder.

    Raises:
        DeclarationError: a file, a field, or a reference between files is not as expected.
    """
    declared = read(folder / "domain.yaml", DomainFile)
    sources = read_folder(folder / "sources", Source)
    for source in sources.values():
        for other in source.sources_read:
            where = folder / "sources" / f"{source.name}.yaml"
            if other not in sources:
                raise DeclarationError(
                    f"{where}: field rules: expected a declared source ({', '.join(sources)}), found {other!r}.",
                    untouched="everything; nothing was loaded.",
                    todo=f"declare sources/{other}.yaml, or mend the rule.",
                )
            if sources[other].partitioned and not source.partitioned:
                raise DeclarationError(
                    f"{where}: field rules: {other} has partitions and {source.name} has none, so no period is known.",
                    untouched="everything; nothing was loaded.",
                    todo="refer to a source without partitions.",
                )
    return Domain(folder, declared, sources, read_folder(folder / "models", ModelDeclaration))


@lru_cache(maxsize=1)
def current_domain() -> Domain:
    """The domain that the settings name, read once a process."""
    return load_domain(get_settings().domain)
