"""``python -m serving.runtime.kubernetes render --plan FILE --deployed FILE --target argo``: objects as YAML."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from serving.errors import ClearwayError
from serving.rollout.plan import ReleasePlan, read_plan
from serving.runtime.kubernetes.deployed import Deployed, Rendered, read_deployed

TARGETS = ("argo", "flagger", "aws")


def render(plan: ReleasePlan, deployed: Deployed, target: str, *, engine: bool = False) -> Rendered:
    """The plan for one of ``TARGETS``; see each target's own ``render``."""
    from serving.runtime.kubernetes import argo, aws, flagger

    targets = {"argo": argo.render, "flagger": flagger.render, "aws": aws.render}
    return targets[target](plan, deployed, engine=engine)


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
    options = parser.parse_args(arguments)
    try:
        plan = read_plan(options.plan, **({"version": options.version} if options.version else {}))
        found = render(plan, read_deployed(options.deployed), options.target, engine=options.engine)
    except ClearwayError as error:
        print(error, file=sys.stderr)
        return 1
    print(found.text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
