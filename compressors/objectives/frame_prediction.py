"""Unit prediction at every frame: a student sees the whole audio and predicts its teacher's units.

Source: the targets of masked prediction (HuBERT, arXiv 2106.07447, section II-B; DiceHuBERT, arXiv 2507.02911) without
its masks, with the units of several layers. A student then learns what its teacher computes from the same input, as in
distillation of hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from bench.upstream import UpstreamModel
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.settings import MaskedPredictionConfig


class FramePrediction(MaskedPrediction):
    """An upstream with unit predictors, and no mask."""

    def __init__(self, upstream: UpstreamModel, targets: Sequence[Target], config: MaskedPredictionConfig) -> None:
        super().__init__(upstream, targets, config)
        # Without a mask, nothing reads the embedding.
        self.register_parameter("mask_embedding", None)

    def of_features(self, features: Tensor, labels: Tensor) -> dict[str, Tensor | float]:
        """Compute the loss of `MaskedPrediction` on all frames, from features that no mask hides.

        Returns:
            ``loss``; ``unit_loss``, the weighted mean over the targets; ``feature_penalty``; and ``accuracy``, of the
            last target.
        """
        features = self.with_scaled_gradient(features)
        logits = self.logits(features, None)
        losses = [
            F.cross_entropy(scores.flatten(0, 1), labels[:, index].flatten()) for index, scores in enumerate(logits)
        ]
        unit_loss = self.weighted(losses)
        penalty = features.float().square().mean()
        return {
            "loss": unit_loss + self.config.feature_penalty_weight * penalty,
            "unit_loss": unit_loss,
            "feature_penalty": penalty,
            "accuracy": (logits[-1].detach().argmax(-1) == labels[:, -1]).float().mean(),
        }
