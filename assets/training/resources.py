"""The model registry as a Dagster resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from serving.settings import Settings, get_settings

if TYPE_CHECKING:
    from assets.training.tabular.register import Registered


class RegistryResource(dg.ConfigurableResource):
    """MLflow's tracking and registry.

    Attributes:
        tracking_uri: address of the tracking server or database.
    """

    tracking_uri: str

    def settings(self) -> Settings:
        return get_settings().model_copy(update={"mlflow_tracking_uri": self.tracking_uri})

    def plot(self, registered: Registered) -> bytes | None:
        """The evaluation plot of a version, or None when the run has none."""
        from assets.training.tabular.register import read_plot

        return read_plot(self.settings(), registered)
