"""Has the copilot tuned again when what there is to ask for is no longer what users' version was tuned on."""

import json
from collections.abc import Iterator

import dagster as dg

from assets.domains import Domain
from assets.monitoring.alerts import Alert
from assets.monitoring.watch import alerts
from assets.training.llm.spec import read_copilot
from orchestration.jobs import AssetJob
from orchestration.pace import interval
from serving import clock
from serving.errors import ClearwayError
from serving.semantics.asking import COPILOT
from serving.settings import Settings, get_settings

TAG = "clearway/manifest"
ATTEMPTS = 2  # at a tuning, which takes minutes, before it is left to people


def retuning_sensor(domain: Domain, job: AssetJob) -> dg.SensorDefinition:
    """One run of the job ``copilot`` for each manifest that users' tuned version was not tuned on."""

    @dg.sensor(
        name="retuning",
        job=job,
        minimum_interval_seconds=interval(60),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Metrics, dimensions or their words have changed: the copilot is tuned, proven and released again.",
    )
    def changed(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        settings = get_settings()
        if read_copilot(domain.folder) is None:
            yield dg.SkipReason("the domain declares no copilot")
            return
        try:
            found = difference(settings)
        except ClearwayError as error:
            yield dg.SkipReason(error.what)
            return
        if found is None:
            yield dg.SkipReason("no tuned copilot is released, or it knows what there is")
            return
        key, version, words = found
        tags, failure = {TAG: f"{version}:{key}"}, [dg.DagsterRunStatus.FAILURE]
        failed = context.instance.get_runs_count(dg.RunsFilter(job_name=job.name, tags=tags, statuses=failure))
        if failed >= ATTEMPTS:
            yield dg.SkipReason(f"tuning again failed {failed} times; see the runs of the job {job.name}")
            return
        kept = alerts(domain, settings, context.log.warning)
        kept.keep(
            Alert(
                f"copilot-{version}-{key}",
                clock.now().isoformat(),
                f"{COPILOT} version {version} was tuned on another semantic manifest",
                f"{words} It is tuned again on what there is now; until that passes its gates, version {version} goes "
                "on answering, and what it writes of names that are gone is refused with the nearest ones.",
                {"manifest": key, "version": version},
            )
        )
        yield dg.RunRequest(run_key=f"retune:{version}:{key}:{failed}", tags=tags)

    return changed


def difference(settings: Settings) -> tuple[str, str, str] | None:
    """(key of the published manifest, users' version, what is other in words); None when there is nothing to do.

    Raises:
        ClearwayError: the warehouse or the registry cannot be read.
    """
    from assets.training.llm.dataset import manifest_key
    from assets.training.llm.version import FACTS, MANIFEST, TUNED
    from assets.training.tabular.version import stable_version
    from serving.models.registry import versions
    from serving.semantics.catalogue import catalogue_of
    from serving.semantics.published import published_manifest

    version = stable_version(COPILOT, settings)
    tags = next((v.tags for v in versions(COPILOT, settings) if v.version == version), {}) if version else {}
    if version is None or tags.get(TUNED) != "yes":
        return None
    catalogue = catalogue_of(published_manifest(settings.warehouse_file))
    key = manifest_key(catalogue)
    if tags.get(MANIFEST) == key:
        return None
    before = set(json.loads(tags.get(FACTS, "{}")).get("metrics", ()))
    gone, new = sorted(before - catalogue.metrics.keys()), sorted(catalogue.metrics.keys() - before)
    told = [f"Metrics that are gone: {', '.join(gone)}." if gone else "", f"New ones: {', '.join(new)}." if new else ""]
    words = " ".join(filter(None, told)) or "Dimensions, or words for them, are other than they were."
    return key, version, words
