"""Masked prediction: an upstream guesses the units of the frames that it does not hear.

Source: HuBERT (arXiv 2106.07447) section II-B, and its reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts import Settings
from bench.files.atomic import replacing
from bench.upstream import UpstreamModel
from compressors.objectives.masking import span_mask
from compressors.training.stages import Objective

TEMPERATURE = 0.1
"""Divides the cosine similarities. Source: HuBERT section II-B."""


class MaskedPredictionConfig(Settings):
    """How masked prediction trains; a recipe's configuration inherits it."""

    mask_span_frames: int = Field(default=10, ge=1)
    """Length of a masked span. Source: HuBERT section IV-B."""
    mask_start_probability: float = Field(default=0.08, gt=0, le=1)
    """Share of the frames at which a span starts; spans overlap. Source: HuBERT section IV-B."""
    unmasked_loss_weight: float = Field(default=0.0, ge=0)
    """Weight of the loss on the frames that are heard; 0 in HuBERT, which then learns from masked frames alone."""
    feature_penalty_weight: float = Field(default=10.0, ge=0)
    """Weight of the extractor's mean squared output. Source: HuBERT's reference recipe."""
    extractor_gradient_scale: float = Field(default=0.1, gt=0)
    """What the extractor's gradient is multiplied with. Source: HuBERT's reference recipe."""
    projection_dim: int = Field(default=256, ge=1)
    """Width in which states and units are compared. Source: HuBERT section IV-B."""


@dataclass(frozen=True)
class Target:
    """What is predicted from one hidden state."""

    layer: int
    """The hidden state, 1 to ``num_layers``."""
    num_units: int
    """Classes."""
    weight: float = 1.0
    """Of its loss among those of all targets."""


class UnitPredictor(nn.Module):
    """Scores units by the cosine similarity of their embeddings with a projected hidden state."""

    def __init__(self, dim: int, num_units: int, projection_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, projection_dim)
        # The reference's embeddings all start in the positive orthant, close to each other; normal ones learn at once.
        self.embeddings = nn.Parameter(torch.randn(num_units, projection_dim))

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., dim) to logits (..., units), in fp32 under autocast too."""
        with torch.autocast(states.device.type, enabled=False):
            projected = F.normalize(self.projection(states.float()), dim=-1)
            return F.linear(projected, F.normalize(self.embeddings, dim=-1)) / TEMPERATURE


class MaskedPrediction(Objective):
    """An upstream with its mask embedding and its predictors, which are no part of it and end with the training."""

    def __init__(self, upstream: UpstreamModel, targets: Sequence[Target], config: MaskedPredictionConfig) -> None:
        super().__init__()
        self.upstream = upstream
        self.targets = tuple(targets)
        self.config = config
        self.mask_embedding = nn.Parameter(torch.rand(upstream.dim))
        self.predictors = nn.ModuleList(
            UnitPredictor(upstream.dim, target.num_units, config.projection_dim) for target in targets
        )

    def forward(self, waveforms: Tensor, labels: Tensor, update: int) -> dict[str, Tensor | float]:  # noqa: ARG002 - the same loss all along
        """Compute the loss.

        Args:
            waveforms: (batch, samples) float32 at 16 kHz, without padding.
            labels: (batch, targets, frames) int64, the true units.
            update: finished updates.

        Returns:
            ``loss``; ``masked_loss`` and ``unmasked_loss``, weighted means over the targets; ``feature_penalty``; and
            the last target's ``masked_accuracy`` and ``unmasked_accuracy``.
        """
        features, frame_lengths = self.upstream.extract(waveforms)
        return self.of_features(features, frame_lengths, labels)

    def of_features(self, features: Tensor, frame_lengths: Tensor, labels: Tensor) -> dict[str, Tensor | float]:
        """Compute the loss from the extractor's features, see `UpstreamModel.extract`; the rest is as in `forward`."""
        features = _with_scaled_gradient(features, self.config.extractor_gradient_scale)
        mask = self.draw_mask(features)
        logits = self.logits(features, frame_lengths, mask)
        losses = [
            F.cross_entropy(scores.flatten(0, 1), labels[:, index].flatten(), reduction="none").view_as(mask)
            for index, scores in enumerate(logits)
        ]
        masked_loss = self._weighted([_mean(loss[mask]) for loss in losses])
        unmasked_loss = self._weighted([_mean(loss[~mask]) for loss in losses])
        penalty = features.float().square().mean()
        loss = masked_loss + self.config.feature_penalty_weight * penalty
        if self.config.unmasked_loss_weight:
            loss = loss + self.config.unmasked_loss_weight * unmasked_loss
        is_right = logits[-1].detach().argmax(-1) == labels[:, -1]
        return {
            "loss": loss,
            "masked_loss": masked_loss,
            "unmasked_loss": unmasked_loss,
            "feature_penalty": penalty,
            "masked_accuracy": _mean(is_right[mask].float()),
            "unmasked_accuracy": _mean(is_right[~mask].float()),
        }

    def draw_mask(self, features: Tensor) -> Tensor:
        """Draw a mask (batch, frames) for features (batch, frames, channels)."""
        return span_mask(
            features.shape[0],
            features.shape[1],
            span=self.config.mask_span_frames,
            start_probability=self.config.mask_start_probability,
            device=features.device,
        )

    def logits(self, features: Tensor, frame_lengths: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Score the units of every target, (batch, frames, units) each, with the masked frames hidden."""
        projected = self.upstream.project(features, frame_lengths)
        if mask is not None:
            projected = torch.where(mask[:, :, None], self.mask_embedding.to(projected.dtype), projected)
        states = self.upstream.contextualise(projected, frame_lengths)
        return [predict(states[target.layer]) for predict, target in zip(self.predictors, self.targets, strict=True)]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Put all weights into one group.

        Source: HuBERT section IV-B and its reference recipe (betas, epsilon, weight decay).
        """
        group = {"params": self.parameters(), "lr": learning_rate}
        return [group | {"betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}]

    def save(self, folder: Path) -> None:
        """Write the mask embedding and the predictors into a folder beside the model."""
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("upstream.")}
        with replacing(folder / "masked_prediction.safetensors") as temporary:
            temporary.write_bytes(save({key: value.detach().contiguous() for key, value in own.items()}))

    def _weighted(self, losses: Sequence[Tensor]) -> Tensor:
        total = sum(target.weight for target in self.targets)
        weighted = [loss * (target.weight / total) for loss, target in zip(losses, self.targets, strict=True)]
        return torch.stack(weighted).sum()


class HeadFitting(Objective):
    """Masked prediction in which the mask embedding and the predictors learn, and the upstream is frozen."""

    def __init__(self, prediction: MaskedPrediction) -> None:
        super().__init__()
        self.prediction = prediction
        prediction.upstream.requires_grad_(False).eval()

    def forward(self, waveforms: Tensor, labels: Tensor, update: int) -> dict[str, Tensor | float]:
        """Compute what `MaskedPrediction` does."""
        parts: dict[str, Tensor | float] = self.prediction(waveforms, labels, update)
        return parts

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Leave the upstream out of the one group of `MaskedPrediction`."""
        head = [self.prediction.mask_embedding, *self.prediction.predictors.parameters()]
        return [group | {"params": head} for group in self.prediction.parameter_groups(learning_rate)]

    def release(self) -> None:
        """Let the upstream learn again, in training mode; the head stays as it is."""
        self.prediction.upstream.requires_grad_(True).train()


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None


def _with_scaled_gradient(features: Tensor, scale: float) -> Tensor:
    return features if scale == 1 else cast("Tensor", _ScaledGradient.apply(features, scale))


def _mean(values: Tensor) -> Tensor:
    """Average, to 0 where there is nothing: in crops no longer than a span every frame is masked."""
    return values.mean() if values.numel() else values.sum()
