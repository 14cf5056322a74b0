"""HuBERT's masked prediction: an upstream predicts the units of masked frames.

Source: HuBERT (arXiv 2106.07447) section II-B, and its reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from bench.files.atomic import replacing
from bench.upstream import UpstreamModel
from compressors.objectives.span_mask import span_mask
from compressors.settings import MaskedPredictionConfig
from compressors.training.devices import on_device
from compressors.training.objective import Objective

TEMPERATURE = 0.1
"""Divides the cosine similarities. Source: HuBERT section II-B."""


@dataclass(frozen=True)
class Target:
    """Units to predict from one hidden state."""

    layer: int
    """The hidden state, 1 to ``num_layers``."""
    num_units: int
    """Number of classes."""
    weight: float = 1.0
    """Weight of the loss, relative to the other targets."""


class UnitPredictor(nn.Module):
    """Scores units by the cosine similarity of their embeddings with a projected hidden state."""

    def __init__(self, dim: int, num_units: int, projection_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, projection_dim)
        # The reference initialises all embeddings in the positive orthant, close together. Normal ones learn at once.
        self.embeddings = nn.Parameter(torch.randn(num_units, projection_dim))

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., dim) to logits (..., units), in fp32 under autocast too."""
        with torch.autocast(states.device.type, enabled=False):
            projected = F.normalize(self.projection(states.float()), dim=-1)
            return F.linear(projected, F.normalize(self.embeddings, dim=-1)) / TEMPERATURE


class MaskedPrediction(Objective):
    """An upstream with a mask embedding and unit predictors, which are used in training only."""

    def __init__(self, upstream: UpstreamModel, targets: Sequence[Target], config: MaskedPredictionConfig) -> None:
        super().__init__()
        self.upstream = upstream
        self.targets = tuple(targets)
        self.config = config
        self.mask_embedding = nn.Parameter(torch.rand(upstream.dim))
        self.predictors = nn.ModuleList(
            UnitPredictor(upstream.dim, target.num_units, config.projection_dim) for target in targets
        )

    def forward(self, waveforms: Tensor, labels: Tensor, update: int) -> dict[str, Tensor | float]:  # noqa: ARG002 - the loss never changes
        """Compute the loss.

        Args:
            waveforms: (batch, samples) float32 at 16 kHz, without padding.
            labels: true units (batch, targets, frames) int64.
            update: finished updates.

        Returns:
            ``loss``; ``masked_loss`` and ``unmasked_loss``, weighted means over the targets; ``feature_penalty``; and
            ``masked_accuracy`` and ``unmasked_accuracy`` of the last target.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.extractor_gradient_scale > 0):
            features, _ = self.upstream.extract(waveforms)
        return self.of_features(features, labels)

    def of_features(self, features: Tensor, labels: Tensor) -> dict[str, Tensor | float]:
        """Compute the loss as `forward` does, from the extractor's features; see `UpstreamModel.extract`."""
        features = self.with_scaled_gradient(features)
        drawn = self.draw_mask(features)
        # Positions are found where the mask was drawn: on a GPU, their number would have to be waited for.
        masked, unmasked = (on_device(each.flatten().nonzero()[:, 0], features.device) for each in (drawn, ~drawn))
        mask = on_device(drawn, features.device)
        logits = self.logits(features, mask)
        losses = [
            F.cross_entropy(scores.flatten(0, 1), labels[:, index].flatten(), reduction="none")
            for index, scores in enumerate(logits)
        ]
        masked_loss = self.weighted([_mean(loss.index_select(0, masked)) for loss in losses])
        unmasked_loss = self.weighted([_mean(loss.index_select(0, unmasked)) for loss in losses])
        penalty = features.float().square().mean()
        loss = masked_loss + self.config.feature_penalty_weight * penalty
        if self.config.unmasked_loss_weight:
            loss = loss + self.config.unmasked_loss_weight * unmasked_loss
        is_right = (logits[-1].detach().argmax(-1) == labels[:, -1]).flatten().float()
        return {
            "loss": loss,
            "masked_loss": masked_loss,
            "unmasked_loss": unmasked_loss,
            "feature_penalty": penalty,
            "masked_accuracy": _mean(is_right.index_select(0, masked)),
            "unmasked_accuracy": _mean(is_right.index_select(0, unmasked)),
        }

    def draw_mask(self, features: Tensor) -> Tensor:
        """Draw a random mask (batch, frames), on the CPU, for features (batch, frames, channels)."""
        return span_mask(
            features.shape[0],
            features.shape[1],
            span=self.config.mask_span_frames,
            start_probability=self.config.mask_start_probability,
        )

    def logits(self, features: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Return the logits of every target, (batch, frames, units) each. The upstream does not see masked frames."""
        projected = self.upstream.project(features)
        if mask is not None:
            projected = torch.where(mask[:, :, None], self.mask_embedding.to(projected.dtype), projected)
        states = self.upstream.contextualise(projected)
        return [predict(states[target.layer]) for predict, target in zip(self.predictors, self.targets, strict=True)]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Put all weights into one group.

        Source: HuBERT section IV-B and its reference recipe (betas, epsilon, weight decay).
        """
        group = {"params": self.parameters(), "lr": learning_rate}
        return [group | {"betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}]

    def save(self, folder: Path) -> None:
        """Write the mask embedding and the predictors into a folder."""
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("upstream.")}
        with replacing(folder / "masked_prediction.safetensors") as temporary:
            temporary.write_bytes(save({key: value.detach().contiguous() for key, value in own.items()}))

    def with_scaled_gradient(self, features: Tensor) -> Tensor:
        """Return features whose gradient is scaled by ``extractor_gradient_scale``."""
        scale = self.config.extractor_gradient_scale
        if scale == 0:
            return features.detach()
        return features if scale == 1 else cast("Tensor", _ScaledGradient.apply(features, scale))

    def weighted(self, losses: Sequence[Tensor]) -> Tensor:
        """Return the weighted mean of the targets' losses."""
        total = sum(target.weight for target in self.targets)
        weighted = [loss * (target.weight / total) for loss, target in zip(losses, self.targets, strict=True)]
        return torch.stack(weighted).sum()


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None


def _mean(values: Tensor) -> Tensor:
    """Return the mean, or 0 of nothing: every frame of a crop no longer than a span is masked."""
    return values.mean() if values.numel() else values.sum()
