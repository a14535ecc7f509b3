"""`make run`: lands the sample, runs the life cycle over its range as one run, leaves the service answering."""

import sys
import time
from typing import Any

from orchestration.home import local_key, prepare
from serving.errors import ClearwayError
from serving.settings import Settings, get_settings


def main() -> int:
    started = time.monotonic()
    try:
        settings = get_settings()
        prepare(settings)
        from orchestration.failures import why
        from orchestration.progress import console

        key = local_key(settings)
        _serve(settings)
        result = run_lifecycle(settings)
        if not result.success:
            console.print(
                "\n[red bold]The life cycle did not finish.[/] What is published is whole; "
                "mend what is named and run again."
            )
            for event in result.filter_events(lambda e: e.is_step_failure):
                console.print(f"\n[bold]{event.step_key}[/]\n{why(event)}")
            return 1
        from orchestration.summary import show

        show(settings, key, time.monotonic() - started)
        return 0
    except ClearwayError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _serve(settings: Settings) -> None:
    from orchestration.progress import console
    from serving.runtime.laptop import start_serving

    start_serving(settings)
    console.print(f"[dim]serving: {settings.gateway_url}[/]")


def run_lifecycle(settings: Settings) -> Any:
    """Land the sample and run the job ``lifecycle`` over all periods, as one run of the instance in DAGSTER_HOME."""
    from orchestration.commanded import execute
    from orchestration.definitions import domain
    from orchestration.progress import console

    if domain.declared.sample is not None:
        written = domain.sample().land(settings.landing)
        console.print(f"[dim]landed {len(written)} files below {settings.landing}[/]")
    periods = domain.periods
    return execute(
        "lifecycle",
        {
            "dagster/asset_partition_range_start": periods[0].isoformat(),
            "dagster/asset_partition_range_end": periods[-1].isoformat(),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
