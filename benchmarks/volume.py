"""Ten times the rows in one month: time and peak memory of ingestion and of the warehouse build.

Every copy of a row has a flight number and an aircraft of its own, so that the shares of failing rows and the rows by
aircraft stay what they are. The contract's bands are widened in a copy of the domain, which both sizes use.
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import time
from pathlib import Path

import yaml

from benchmarks.harness import World
from benchmarks.report import Row

FACTOR, TIME_AIM, MEMORY_AIM = 10, 11.0, 3.0
WIDENED = ("flights", "planes")


def measure(world: World) -> list[Row]:
    world.quiet()
    domain = _widened(world.root / "domain")
    seconds: dict[tuple[str, int], list[float]] = {}
    peaks: dict[tuple[str, int], list[float]] = {}
    for _ in range(world.repeats(3)):
        for factor in (1, FACTOR):
            home = world.home(domain)
            world.call(home, "benchmarks.volume:land", factor=factor)
            for stage in ("ingestion", "warehouse"):
                done = world.call(home, f"benchmarks.volume:{stage}")
                world.say(f"{stage} of {factor} times: {done.result:.1f} s, at most {done.peak_mib:,.0f} MiB")
                seconds.setdefault((stage, factor), []).append(done.result)
                peaks.setdefault((stage, factor), []).append(done.peak_mib)
            shutil.rmtree(home.path)
    rows = []
    for stage in ("ingestion", "warehouse"):
        for what, unit, found, aim in (("time", "s", seconds, TIME_AIM), ("peak memory", "MiB", peaks, MEMORY_AIM)):
            name = f"{what} of {stage}, {FACTOR} times the rows"
            rows.append(Row(name, unit, tuple(found[stage, FACTOR]), "the month as it is", tuple(found[stage, 1]), aim))
    return rows


def _widened(folder: Path) -> Path:
    """A copy of the reference domain whose row bands take ten times as many."""
    from serving.settings import PROJECT

    original = PROJECT / "assets" / "domain"
    shutil.copytree(original, folder)
    places = yaml.safe_load((folder / "domain.yaml").read_text())
    for name in ("dbt_project", "feature_repo"):
        places[name] = str((original / places[name]).resolve())
    (folder / "domain.yaml").write_text(yaml.safe_dump(places))
    for source in WIDENED:
        file = folder / "sources" / f"{source}.yaml"
        declared = yaml.safe_load(file.read_text())
        declared["rows"]["max"] *= FACTOR
        file.write_text(yaml.safe_dump(declared))
    return folder


def land(factor: int) -> None:
    """Land the sample with its first month ``factor`` times as large, and ingest all but the flights."""
    from benchmarks.stages import Stages

    stages = Stages()
    stages.land()
    month = stages.domain.periods[0]
    (flights,) = (stages.settings.landing / "flights" / month.isoformat()).iterdir()
    (planes,) = (stages.settings.landing / "planes").iterdir()
    flights.write_bytes(gzip.compress(_copies(gzip.decompress(flights.read_bytes()), factor), mtime=0))
    planes.write_bytes(_copies(planes.read_bytes(), factor))
    stages.ingestion([month], [s for s in stages.sources if s.name != "flights"])
    assert stages.manifest.models


def _copies(content: bytes, factor: int) -> bytes:
    """The rows, and ``factor - 1`` copies of them with other flight numbers and tail numbers."""
    header, *rows = csv.reader(io.StringIO(content.decode()))
    tail, flight = header.index("tailnum"), header.index("flight") if "flight" in header else None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for number in range(factor):
        for row in rows:
            copy = list(row)
            if number and copy[tail] not in ("", "NA"):
                copy[tail] += f"_{number}"
            if flight is not None:
                copy[flight] = str(int(copy[flight]) + number * 10_000)
            writer.writerow(copy)
    return text.getvalue().encode()


def ingestion() -> float:
    """Seconds to ingest the month's flights, imports aside."""
    import duckdb  # noqa: F401
    import great_expectations  # noqa: F401
    import pandas  # noqa: F401
    import pyiceberg.table  # noqa: F401

    from benchmarks.stages import Stages

    stages = Stages()
    started = time.perf_counter()
    stages.ingestion(stages.domain.periods[:1], [stages.domain.sources["flights"]])
    return time.perf_counter() - started


def warehouse() -> float:
    """Seconds to build and test the month's warehouse, imports aside."""
    import assets.warehouse.assets  # noqa: F401
    from benchmarks.stages import Stages

    stages = Stages()
    started = time.perf_counter()
    stages.warehouse(stages.domain.periods[:1])
    return time.perf_counter() - started
