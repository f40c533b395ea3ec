"""A specialist as an MLflow model. MLflow copies this file and runs it; it needs ptsam-auto installed where it runs."""

from typing import Any

import mlflow
import numpy as np


class SpecialistModel(mlflow.pyfunc.PythonModel):
    """Images in, masks out, through MLflow's own interface."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow's type is private
        """Load the specialist that was logged beside this file."""
        from ptsam_auto.specialist.artifact import load_specialist

        self.specialist = load_specialist(context.artifacts["specialist"])

    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:  # noqa: ANN401, ARG002
        """Masks, B H W uint8 (1 is foreground), of images, B H W 3 uint8 RGB."""
        return np.stack([self.specialist.predict(image) for image in model_input]).astype(np.uint8)


mlflow.models.set_model(SpecialistModel())
