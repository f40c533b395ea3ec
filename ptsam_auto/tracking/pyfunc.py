"""A specialist as an MLflow model. MLflow copies this file and runs it; ptsam-auto must be installed there."""

from typing import Any

import mlflow
import numpy as np


class SpecialistModel(mlflow.pyfunc.PythonModel):
    """MLflow model that predicts masks and probabilities."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow's type is private
        """Load the specialist from the logged artifacts."""
        from ptsam_auto.specialist.artifact import load_specialist

        self.specialist = load_specialist(context.artifacts["specialist"])

    def predict(
        self,
        context: Any,  # noqa: ANN401
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return mask (B H W uint8, 1 is foreground) and probability (B H W float32) of images, B H W 3 uint8 RGB.

        With several classes the mask has class numbers, and the probability is that of each class, B C H W.
        """
        from ptsam_auto.metrics.classes import decided

        probability = np.stack([self.specialist.probability(image) for image in model_input]).astype(np.float32)
        mask = np.stack([decided(one) for one in probability]).astype(np.uint8)
        return {"mask": mask, "probability": probability}


mlflow.models.set_model(SpecialistModel())
