"""`make replay`: the sample's year again, in data time: served, watched, reviewed, retrained, released by the daemon.

It has a home and ports of its own, so nothing of yours is touched. One clock, which this program moves hour by hour,
says to every process what is known. What happens outside (:mod:`orchestration.world`) is played from the sample; what
Clearway does about it, sensors and runs of the real daemon do: a month's file lands, its rows are built, the month is
reviewed, and a decision to retrain is carried out, before the clock goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving import clock
from serving.errors import ClearwayError
from serving.runtime.program import free_port
from serving.settings import Settings, get_settings

if TYPE_CHECKING:
    from assets.domains import Domain
    from assets.monitoring.history import Chapter
    from orchestration.world import World

PORTS = tuple(name for name in Settings.model_fields if name.endswith("_port"))
PATIENCE_S = 900.0


@dataclass
class Replay:
    """One replay in its home."""

    settings: Settings
    domain: Domain
    world: World
    clock_file: Path
    say: Callable[[str], None]
    _pusher: Any = None
    _marts: Any = None

    @property
    def _wait(self) -> timedelta:
        """From a month's end until its review."""
        return timedelta(days=max(m.retraining.wait_days for m in self.domain.models.values()))

    def set(self, instant: datetime) -> None:
        clock.set_to(self.clock_file, instant)

    def begin(self) -> date:
        """The months that the first version learns from, and a review that asks for it; returns the last of them."""
        from orchestration.definitions import defs

        first = min(m.train.end for m in self.domain.models.values())
        learned = [p for p in self.domain.periods if p < first]
        self.set(self.domain.bounds(first)[0] + self._wait + timedelta(hours=1))
        for period in [None, *learned]:
            self.world.drop(period)
        tags = {
            "dagster/asset_partition_range_start": learned[0].isoformat(),
            "dagster/asset_partition_range_end": learned[-1].isoformat(),
        }
        self.say(f"{learned[0]:%Y-%m} to {learned[-1]:%Y-%m} land, and are built")
        self.run(defs, "settle", tags)
        for model in self.domain.models:
            self._review_first(model, learned[-1])
        return learned[-1]

    def run(self, defs: Any, job: str, tags: dict[str, str], config: dict[str, Any] | None = None,
             select: list[Any] | None = None) -> None:  # fmt: skip
        import dagster as dg

        from orchestration.failures import why

        with dg.DagsterInstance.get() as instance:
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance,
                tags=tags,
                raise_on_error=False,
                asset_selection=select,
                run_config={"loggers": {"progress": {}}, **(config or {})},
            )
        if not result.success:
            failed = [f"{e.step_key}: {why(e)}" for e in result.filter_events(lambda e: e.is_step_failure)]
            raise ClearwayError(f"the job {job} failed: {'; '.join(failed)}", todo="see its run in the UI.")

    def _review_first(self, model: str, period: date) -> None:
        from assets.monitoring.review_assets import reviews_key
        from orchestration.definitions import defs

        key = reviews_key(model)
        config = {"ops": {key.to_python_identifier(): {"config": {"first": True}}}}
        self.run(defs, "review", {"dagster/partition": period.isoformat()}, config, [key])

    def month(self, period: date, last: datetime | None) -> None:
        """Play a month. A day after it has begun the month before is reviewed, and its decision carried out."""
        from assets.features.live import LiveMarts, compiled
        from assets.features.offline import feature_marts
        from assets.features.push import Pusher
        from assets.warehouse.manifest import load_manifest
        from orchestration.world import Month, asked_of

        manifest = load_manifest(self.domain.dbt_project, self.settings.dbt_target)
        marts = feature_marts(manifest)
        if self._pusher is None:
            wanted = compiled(manifest, self.domain.dbt_project, [*marts, *asked_of(self.domain)])
            self._marts = LiveMarts(self.domain, manifest, wanted)
            self._pusher = Pusher(self.domain.name, self.settings.online_pointer)
        played = Month(self.world, period, self._marts, marts)
        self._pusher.load(played.features)
        self._pusher.forget(played.start - timedelta(days=35))
        self.world.begin(period)
        due = self.review_due(period)
        for hour in played.hours():
            if hour < clock.now():
                continue  # the first version was not there yet
            if last is not None and hour >= last:
                return
            if due is not None and hour >= due[1]:
                self.settle(due[0])
                due = None
            self.set(hour)
            self.world.tell(hour)
            asked = {model: requests for model in self.domain.models if (requests := played.asked(model, hour))}
            if asked:  # what is known by then is pushed before somebody is answered by it
                self._pusher.push(hour)
            for model, requests in asked.items():
                self.world.ask(model, requests)

    def review_due(self, period: date) -> tuple[date, datetime] | None:
        """The month before and when it is reviewed, if it was replayed."""
        earlier = [p for p in self.domain.periods if p < period]
        if not earlier or earlier[-1] < min(m.train.end for m in self.domain.models.values()):
            return None
        return earlier[-1], self.domain.bounds(earlier[-1])[1] + self._wait

    def settle(self, period: date) -> None:
        """Drop the month's files and wait until the daemon has built, reviewed and acted on it."""
        self.set(self.domain.bounds(period)[1] + self._wait)
        time.sleep(self.settings.segment_seconds + 1)  # what was answered and told is in closed segments by then
        self.until_told()
        self.world.drop(period)
        self.wait_for(period)

    def until_told(self) -> None:
        """Wait until what operations told is published: what comes after the file of its month changes nothing."""
        import dagster as dg

        from serving.events.reader import closed_segments

        sources = [s.name for s in self.domain.sources.values() if s.feed]
        done = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        going = [status for status in dg.DagsterRunStatus if status not in done]
        deadline = time.monotonic() + PATIENCE_S
        with dg.DagsterInstance.get() as instance:
            while time.monotonic() < deadline:
                waiting = any(closed_segments(self.settings.feeds / name) for name in sources)
                if not waiting and not instance.get_runs_count(dg.RunsFilter(job_name="feeds", statuses=going)):
                    return
                time.sleep(1)

    def wait_for(self, period: date) -> None:
        from assets.monitoring.history import history

        deadline = time.monotonic() + PATIENCE_S
        waiting = dict.fromkeys(self.domain.models, "the review")
        while waiting:
            if time.monotonic() > deadline:
                raise ClearwayError(
                    f"{period:%Y-%m}: waited {PATIENCE_S:.0f} s for "
                    + ", ".join(f"{what} of {model}" for model, what in waiting.items()),
                    todo=f"see the runs in the UI, http://{self.settings.host}:{self.settings.webserver_port}.",
                )
            for model in list(waiting):
                chapter = next(
                    (c for c in reversed(history(model, self.settings)) if c.record.period == period.isoformat()), None
                )
                if chapter is None:
                    continue
                waiting[model] = "the retraining"
                if over(chapter) or self.failed(chapter):
                    del waiting[model]
                    self.say(told(chapter))
            time.sleep(1)

    def failed(self, chapter: Chapter) -> bool:
        """Whether the runs that carry a decision out have failed, which is said and not waited for."""
        import dagster as dg

        from assets.training.window import DECISION_TAG

        with dg.DagsterInstance.get() as instance:
            runs = instance.get_runs(filters=dg.RunsFilter(tags={DECISION_TAG: chapter.record.id}))
        if not runs or not all(r.status == dg.DagsterRunStatus.FAILURE for r in runs):
            return False
        self.say(f"[red]the retraining that {chapter.record.id} asked for failed[/]; see its run in the UI")
        return True


def over(chapter: Chapter) -> bool:
    """Whether nothing more is to come of a decision, but what a person may do."""
    return chapter.record.action != "retrain" or chapter.state == "rejected" or chapter.ended


def told(chapter: Chapter) -> str:
    """A review in a line."""
    record, risk = chapter.record, chapter.record.risk.get("log_loss", {})
    figures = ""
    if risk:
        measured = f"{risk['measured']:.4f}" if risk.get("measured") is not None else "no label"
        figures = f" log loss estimated {risk['estimated']:.4f}, measured {measured};"
    alarms = f" alarm: {', '.join(a['name'] for a in record.raised)};" if record.raised else ""
    became = f" -> version {chapter.version} {chapter.state}" if chapter.version else ""
    rate = record.numbers.get("rate")
    figures = figures if rate is None else f" rate {rate:.1%};{figures}"
    decided = f"[bold]{record.action}[/]{became}: {record.why}"
    brought = f" {record.outcome};" if record.outcome else ""
    return f"{record.period[:7]}  champion {record.champion or 'none'};{figures}{brought}{alarms} {decided}"


def _home(base: Settings) -> Settings:
    """Settings of the replay: a home below the user's, free ports, and the clock; set for every child too."""
    home = base.home / "replay"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["CLEARWAY_HOME"] = str(home)
    os.environ["CLEARWAY_CLOCK"] = str(home / "clock")
    os.environ["CLEARWAY_PACE"] = "0.1"
    os.environ["CLEARWAY_PUSH_TOLD"] = "false"
    taken: list[int] = []
    for name in PORTS:
        taken.append(free_port(taken=taken))
        os.environ[f"CLEARWAY_{name.upper()}"] = str(taken[-1])
    clock.set_to(home / "clock", datetime(2000, 1, 1, tzinfo=UTC))
    get_settings.cache_clear()
    return get_settings()


def replay(days: int | None) -> int:
    """Play the year, or its first ``days`` after the training months; 0 when it came to its end."""
    import shutil

    from orchestration.home import local_key, prepare
    from orchestration.progress import console

    started = time.monotonic()

    def say(text: str) -> None:
        seconds = time.monotonic() - started
        console.print(f"[dim]{int(seconds // 60):3}:{int(seconds % 60):02}[/]  {text}", soft_wrap=True)

    base = get_settings()
    if (base.home / "replay").exists():
        shutil.rmtree(base.home / "replay")
    settings = _home(base)
    prepare(settings)
    from assets.domains import current_domain
    from orchestration.ui import start
    from orchestration.world import World, months
    from serving.runtime.laptop import start_serving, stop_all

    domain = current_domain()
    world = World(domain, settings.home / "world", settings.landing, settings, local_key(settings))
    try:
        start_serving(settings)
        played = Replay(settings, domain, world, settings.home / "clock", say)
        learned = played.begin()
        start(settings)  # the daemon: from here on it acts
        played.wait_for(learned)
        from assets.training.tabular.version import stable_version

        if without := [name for name in domain.models if stable_version(name, settings) is None]:
            raise ClearwayError(
                f"no first version of {', '.join(without)} was released, so there is nothing to replay.",
                todo=f"see {settings.alerts}, and the runs in the UI with CLEARWAY_HOME={settings.home}.",
            )
        first = domain.bounds(min(m.train.end for m in domain.models.values()))[0]
        last = None if days is None else first + timedelta(days=days)
        for period in months(domain, days):
            played.month(period, last)
            over = f"day {days}" if last is not None and last < domain.bounds(period)[1] else f"{period:%Y-%m}"
            say(f"[dim]{over} is over: {world.asked:,} predictions so far, {world.refused:,} refused[/]")
        if last is None:
            played.settle(domain.periods[-1])
        from orchestration.definitions import defs

        played.run(defs, "story", {})
        say(f"the whole story: assets retrainings/<model>, and {settings.home / 'reports'}")
    finally:
        world.close()
        stop_all(settings)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, help="of data time after the training months; the whole year without it")
    options = parser.parse_args()
    try:
        return replay(options.days)
    except ClearwayError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
