"""What the rollout controller needs from whatever carries traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from serving.errors import ClearwayError

# Addresses one arm whatever the weights are: for smoke tests, from this machine only.
ARM_HEADER = "x-clearway-arm"
# Draws the arm by a number that the gateway makes of the user, so that a user stays with an arm.
DRAW_HEADER = "x-clearway-draw"
# On answers: the arm that was drawn (``ARM_HEADER``), and the split by which, as ``<rollout>:<percent>``.
SPLIT_HEADER = "x-clearway-split"
# On the refusal of a server that has not begun to answer: another server of the arm may be asked.
NOT_READY_HEADER = "x-clearway-not-ready"
# Request fields that only the version that is being tried knows, joined by commas: stable passes them over.
NEW_FIELDS_HEADER = "x-clearway-new-fields"


class RoutingError(ClearwayError):
    """The router does not take what it was told."""


class Router(Protocol):
    """Splits the traffic of each model between arms. Every call is idempotent.

    Arm names are unique over all models. The arms of a model are those that its weights name, also with weight 0: an
    arm with weight 0 gets no user's request and can be addressed by ``ARM_HEADER``.
    """

    def set_arms(self, arms: Mapping[str, str]) -> None:
        """All arms there are, each with the ``host:port`` of its servers, joined by commas.

        An arm that weights still name cannot be left out.
        """

    def set_weights(
        self,
        model: str,
        weights: Mapping[str, int],
        split: str | None = None,
        mirror: tuple[str, int] | None = None,
        sticky: Mapping[str, str] | None = None,
    ) -> None:
        """Split a model's traffic in proportion to ``weights``; an empty mapping removes the model.

        Args:
            split: names this split, as ``<rollout>:<percent>``; answers carry it in ``SPLIT_HEADER``.
            mirror: an arm that gets copies of this percent of the requests; nobody sees what it answers.
            sticky: ``{"by": "header" or "cookie", "name": ..., "salt": ...}``: arms are drawn by ``DRAW_HEADER``, which
                the gateway makes of the user that ``by`` and ``name`` tell.
        """

    def arms(self) -> dict[str, str]:
        """The arms as last set."""

    def weights(self) -> dict[str, dict[str, int]]:
        """The weights as last set, by model."""

    def active(self, arm: str) -> int | None:
        """Requests that the arm is answering now; None when the router does not say."""

    def reaches(self, arm: str) -> bool:
        """Whether a request to the arm would find all its servers: they may be ready before the router knows it."""

    def applied(self) -> bool:
        """Whether traffic follows what was last set."""
