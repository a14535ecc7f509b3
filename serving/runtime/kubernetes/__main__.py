"""``python -m serving.runtime.kubernetes``: ``render`` prints objects, ``weight`` and ``follow`` move what began."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import ClearwayError
from serving.rollout.plan import ReleasePlan, read_plan
from serving.runtime.kubernetes.deployed import Deployed, Rendered, read_deployed

if TYPE_CHECKING:
    from serving.runtime.kubernetes.engine import Position

TARGETS = ("argo", "flagger", "aws")
POLL_S = 1.0


def render(plan: ReleasePlan, deployed: Deployed, target: str, *, engine: bool = False) -> Rendered:
    """The plan for one of ``TARGETS``; see each target's own ``render``."""
    from serving.runtime.kubernetes import argo, aws, flagger

    targets = {"argo": argo.render, "flagger": flagger.render, "aws": aws.render}
    return targets[target](plan, deployed, engine=engine)


def _render(options: argparse.Namespace) -> None:
    plan = read_plan(options.plan, **({"version": options.version} if options.version else {}))
    found = render(plan, read_deployed(options.deployed), options.target, engine=options.engine)
    print(found.text(), end="")


def _stands(found: Position, weight: int) -> bool:
    return found.aborted if weight == 0 else found.weight == weight


def _weight(options: argparse.Namespace) -> None:
    from serving.runtime.kubernetes.engine import Cluster

    cluster = Cluster(options.api) if options.api else Cluster.inside()
    end = time.monotonic() + options.wait
    while not _stands(found := cluster.set_weight(options.namespace, options.name, options.to), options.to):
        if time.monotonic() > end:
            raise ClearwayError(
                f"Rollout {options.name} is at {found.weight} after {options.wait:g} s, not at {options.to}",
                untouched="what it was told: it goes on by itself.",
                todo="say it again, or look at the Rollout.",
            )
        time.sleep(POLL_S)
    print(f"{options.name}: {found.weight}%")


def _follow(options: argparse.Namespace) -> None:
    """Have the Rollout stand where the log of the model's newest release says, until that is over."""
    from serving.rollout.read import list_rollouts
    from serving.runtime.kubernetes.engine import Cluster, wanted

    cluster = Cluster(options.api) if options.api else Cluster.inside()
    end, shown = time.monotonic() + options.wait, None
    while True:
        released = [r for r in list_rollouts(options.model) if r.entries]
        newest = released[-1] if released else None
        weight = wanted(newest)
        if newest is not None and weight is not None:
            found = cluster.set_weight(options.namespace, options.name, weight)
            if _stands(found, weight):
                if shown != (newest.id, newest.status):
                    shown = (newest.id, newest.status)
                    print(f"{options.name}: {weight}%, {newest.id} is {newest.status}", flush=True)
                if newest.done:
                    return
        if time.monotonic() > end:
            status = newest.status if newest else "not there"
            raise ClearwayError(
                f"the release of {options.model} is {status} after {options.wait:g} s",
                untouched="the Rollout: it stands where it was told to.",
                todo="follow again.",
            )
        time.sleep(POLL_S)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.runtime.kubernetes", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("render", help="print the objects of a release plan")
    command.add_argument("--plan", type=Path, required=True, help="YAML file of a release plan")
    command.add_argument("--version", help="registry version, when the plan's file names none")
    command.add_argument("--deployed", type=Path, required=True, help="YAML file: image, namespace, resources, ...")
    command.add_argument("--target", choices=TARGETS, required=True)
    command.add_argument(
        "--engine", action="store_true", help="only weights and pauses without end: Clearway decides, not the target"
    )
    command.set_defaults(do=_render)
    command = commands.add_parser("weight", help="move a Rollout that was rendered with --engine; from inside a pod")
    command.add_argument("--name", required=True)
    command.add_argument("--namespace", default="clearway")
    command.add_argument("--to", type=int, required=True, help="percent, of one of the steps; 100 completes, 0 aborts")
    command.add_argument("--wait", type=float, default=300.0, help="seconds")
    command.add_argument("--api", help="the API server, such as kubectl proxy opens it")
    command.set_defaults(do=_weight)
    command = commands.add_parser("follow", help="keep such a Rollout where the rollout engine's log has the release")
    command.add_argument("--model", required=True)
    command.add_argument("--name", required=True)
    command.add_argument("--namespace", default="clearway")
    command.add_argument("--wait", type=float, default=86400.0, help="seconds")
    command.add_argument("--api", help="the API server, such as kubectl proxy opens it")
    command.set_defaults(do=_follow)
    options = parser.parse_args(arguments)
    try:
        options.do(options)
    except ClearwayError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
