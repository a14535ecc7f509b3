"""An arm is the server that its version's artifact asks for, stopped as that server can be stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.llm.spec import LLM_FILE
from serving.models.registry import cache_folder
from serving.runtime.arms import LocalArms
from serving.runtime.program import Program
from serving.settings import Settings


@dataclass
class Recorded:
    """Stands where a supervisor would, and keeps what it is told to run."""

    settings: Settings
    programs: list[Program] = field(default_factory=list)

    def add_program(self, program: Program) -> None:
        self.programs.append(program)


@pytest.mark.parametrize(
    ("artifact", "server", "group"),
    [("spec.json", "serving.models.server", True), (LLM_FILE, "serving.llm.launch", False)],
)
def test_the_artifact_says_which_server(tmp_path: Path, artifact: str, server: str, group: bool) -> None:
    supervisor = Recorded(Settings(home=tmp_path))
    folder = cache_folder("gardener", "3", supervisor.settings)
    folder.mkdir(parents=True)
    (folder / artifact).write_text("{}")
    LocalArms(supervisor).ensure("gardener-v3", "gardener", "3", 20001)  # type: ignore[arg-type]
    (program,) = supervisor.programs
    assert program.name == "arm-gardener-v3"
    assert program.command[1:] == (
        "-m", server, "--model", "gardener", "--version", "3", "--port", "20001", "--arm", "gardener-v3",
    )  # fmt: skip
    # A signal to the whole group would end a language model's workers in the middle of their answers.
    assert program.stop_group is group
    assert program.stop_seconds > 30 or group
