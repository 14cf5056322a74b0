"""Fit the mask embedding and the unit predictor to a frozen model, before it is pruned."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from compressors.objectives.masked_prediction import MaskedPrediction
from compressors.training.objective import Objective


class HeadFitting(Objective):
    """Masked prediction with a frozen upstream: only the mask embedding and the predictors learn."""

    def __init__(self, prediction: MaskedPrediction) -> None:
        super().__init__()
        self.prediction = prediction
        prediction.upstream.requires_grad_(False).eval()

    def forward(self, waveforms: Tensor, labels: Tensor, update: int) -> dict[str, Tensor | float]:
        """Compute the loss of `MaskedPrediction`."""
        parts: dict[str, Tensor | float] = self.prediction(waveforms, labels, update)
        return parts

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the group of `MaskedPrediction` without the upstream."""
        head = [self.prediction.mask_embedding, *self.prediction.predictors.parameters()]
        return [group | {"params": head} for group in self.prediction.parameter_groups(learning_rate)]

    def release(self) -> None:
        """Unfreeze the upstream, in training mode."""
        self.prediction.upstream.requires_grad_(True).train()
