"""The code with which MLflow loads a version as a pyfunc; the model server reads the same two files directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from serving.models.inputs import derive
from serving.models.model import TabularModel


class TabularPyfunc(PythonModel):
    """Probability of the positive label for frames that hold request fields and features side by side."""

    def load_context(self, context: Any) -> None:
        self.model = TabularModel.load(Path(context.artifacts["version"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        return self.model.predict_proba(derive(self.model.spec.inputs, model_input, model_input))


mlflow.models.set_model(TabularPyfunc())
