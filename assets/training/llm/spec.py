"""``copilot.yaml`` of a domain: the language model that turns questions into queries, how it is tuned and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from assets.declared import Declared, read
from serving.llm.spec import LLMSpec
from serving.semantics.asking import COPILOT

FILE = "copilot.yaml"


class TuningSettings(Declared):
    """As :class:`assets.training.llm.tune.Tuning` has them; paths are filled in."""

    method: Literal["lora", "full"] = Field(default="lora", description="an adapter, or all weights")
    steps: int = Field(default=150, ge=1)
    batch: int = Field(default=8, ge=1, description="pairs of a step")
    rate: float = Field(default=1e-3, gt=0, description="highest learning rate; a full tuning wants a hundredth of it")
    warmup: int = Field(default=10, ge=0, description="steps in which the rate rises")
    rank: Literal[8, 16, 32, 64, 128] = Field(default=16, description="of the adapter")
    first_layer: int = Field(
        default=0, ge=0, description="the layers below stay as they are, which saves their gradient"
    )
    every: int = Field(default=25, ge=1, description="steps from one checkpoint to the next")
    seed: int = 7
    threads: int = Field(default=2, ge=1)
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of the products of matrices; auto: bfloat16 on GPUs and CPUs with AMX"
    )


class StudentSettings(Declared):
    """A student of half the layers, learned from what an adapter makes of the base."""

    steps: int = Field(default=600, ge=1)
    batch: int = Field(default=4, ge=1, description="pairs of a step")
    rate: float = Field(default=5e-4, gt=0, description="highest learning rate")
    warmup: int = Field(default=20, ge=0, description="steps in which the rate rises")
    every: int = Field(default=60, ge=1, description="steps from one checkpoint to the next")


class Questions(Declared):
    """How many held-out questions an evaluation asks; all that there are when there are fewer."""

    phrasing: int = Field(default=120, ge=10, description="English, phrasings that were not trained on")
    refusal: int = Field(default=80, ge=10, description="English, without an answer")
    combination: int = Field(
        default=80, ge=10, description="English, of metrics and dimensions not trained on together"
    )
    value: int = Field(default=40, ge=10, description="English, values that were not trained on")
    korean: int = Field(default=60, ge=10, description="all three, in Korean")
    base: int = Field(default=60, ge=10, description="of all these, how many the untuned base is asked")


class CopilotGates(Declared):
    """Floors of a version; shares are of questions, 0 to 1."""

    valid: float = Field(default=0.98, description="replies that the semantic layer takes")
    exact: float = Field(default=0.85, description="the very query that was meant, unseen English phrasings")
    executed: float = Field(default=0.9, description="right results, unseen English phrasings")
    combination: float = Field(default=0.8, description="right results, unseen combinations")
    value: float = Field(default=0.8, description="right results, unseen values")
    korean: float = Field(default=0.6, description="right results, all that is asked in Korean")
    refusals: float = Field(default=0.9, description="questions without an answer that are refused")
    answered: float = Field(default=0.95, description="questions with an answer that are not refused")
    red_team: float = Field(default=1.0, description="hostile prompts that reach nothing")
    marked: float = Field(default=0.5, description="right results of the questions that users marked wrong")
    worse_than_champion: float = Field(default=0.05, description="right results that may be lost against the champion")
    seconds: float = Field(default=5.0, gt=0, description="median from question to reply, one user at a time")
    tokens: float = Field(default=80.0, gt=0, description="mean of what the model writes for a question")


class CopilotDeclaration(Declared):
    """The metric copilot of a domain."""

    title: str
    owner: str | None = None
    example: str = Field(description="a question to begin with")
    server: dict[str, Any] = Field(description="fields of serving.llm.spec.LLMSpec, without model and adapter")
    seed: int = Field(default=7, description="another draws other questions")
    tuning: TuningSettings = TuningSettings()
    student: StudentSettings | None = Field(
        default=None, description="declared, a student of what was tuned is judged and released in its place"
    )
    questions: Questions = Questions()
    gates: CopilotGates = CopilotGates()
    first_release: str = Field(description="plan below releases/ that gives users the untuned base")
    release_anew: str = Field(
        description="plan below releases/ for a tuned version while users get the base, or one that knows other metrics"
    )
    release: str = Field(description="plan below releases/ for a tuned version over one that knows the same metrics")

    @field_validator("server")
    @classmethod
    def _server(cls, value: dict[str, Any]) -> dict[str, Any]:
        LLMSpec.model_validate({**value, "model": COPILOT})
        return value

    @model_validator(mode="after")
    def _taught(self) -> Self:
        if self.student is not None and self.tuning.method != "lora":
            raise ValueError(f"student: its teacher is an adapter: tuning.method lora, found {self.tuning.method}")
        return self

    @property
    def whole(self) -> bool:
        """Whether a version is a whole model of its own, and not an adapter of the base."""
        return self.student is not None or self.tuning.method == "full"

    @property
    def name(self) -> str:
        """The registered model."""
        return COPILOT

    def spec(self, **more: Any) -> LLMSpec:
        """What a version declares."""
        return LLMSpec.model_validate({**self.server, "model": COPILOT, **more})


def read_copilot(folder: Path) -> CopilotDeclaration | None:
    """The copilot of a domain's folder, or None when it declares none.

    Raises:
        DeclarationError: the file is not as expected; it is named with its field.
    """
    file = folder / FILE
    return read(file, CopilotDeclaration) if file.exists() else None
