"""A specialist as an MLflow model. MLflow copies this file and runs it; ptsam-auto must be installed there."""

from typing import Any

import mlflow
import numpy as np


class SpecialistModel(mlflow.pyfunc.PythonModel):
    """MLflow model that predicts masks."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow's type is private
        """Load the specialist from the logged artifacts."""
        from ptsam_auto.specialist.artifact import load_specialist

        self.specialist = load_specialist(context.artifacts["specialist"])

    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:  # noqa: ANN401
        """Return the masks, B H W uint8 (1 is foreground), of images, B H W 3 uint8 RGB."""
        return np.stack([self.specialist.predict(image) for image in model_input]).astype(np.uint8)


mlflow.models.set_model(SpecialistModel())
