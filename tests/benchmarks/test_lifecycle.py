"""The lifecycle bench knows every step of the job that it times."""

from __future__ import annotations

import pytest

from benchmarks.lifecycle import STAGE_OF


@pytest.mark.integration
def test_every_step_of_the_life_cycle_belongs_to_a_stage() -> None:
    from orchestration.definitions import defs

    steps = {node.name.split("__")[0] for node in defs.resolve_job_def("lifecycle").graph.nodes}
    assert steps
    assert steps <= STAGE_OF.keys()
