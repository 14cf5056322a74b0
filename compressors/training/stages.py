"""A training stage: its settings, and the objective that `compressors.training.loop` minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import Self

from bench.contracts import Settings

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class StageConfig(Settings):
    """Length and learning rate of one stage."""

    updates: int = Field(ge=1)
    """Optimiser updates."""
    warmup_updates: int = Field(ge=0)
    """Updates over which the learning rate rises linearly; from there it falls linearly to 0."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate of the model's and the projections' weights."""
    use_last_update: bool = False
    """Reach a learning rate of 0 after the last update; False: at it, so that it changes nothing, as in DPHuBERT's
    reference implementation."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_updates >= self.updates:
            raise ValueError(f"warmup_updates {self.warmup_updates} must be below updates {self.updates}")
        return self

    def in_updates(self, updates: int) -> Self:
        """Return the same stage in so many updates, its warm-up in proportion."""
        warmup = min(round(self.warmup_updates * updates / self.updates), updates - 1)
        return self.model_copy(update={"updates": updates, "warmup_updates": warmup})

    def part(self, part: int, num_parts: int) -> Self:
        """Return one of equal parts of the stage, each with a warm-up of its own; all together have its updates.

        Args:
            part: counted from 1.
            num_parts: how many there are; no more than updates.
        """
        updates = self.updates * part // num_parts - self.updates * (part - 1) // num_parts
        warmup_updates = self.warmup_updates * updates // self.updates
        return self.model_copy(update={"updates": updates, "warmup_updates": warmup_updates})

    def learning_rate_factor(self, update: int) -> float:
        """Return what all learning rates are multiplied with at ``update``, counted from 0.

        Source: DPHuBERT (arXiv 2305.17651) section 4.1, and its reference implementation.
        """
        if update < self.warmup_updates:
            return (update + 1) / self.warmup_updates
        left = self.updates - update - (0 if self.use_last_update else 1)
        return max(left, 0) / (self.updates - self.warmup_updates)


class TrainingConfig(Settings):
    """What every stage of a compression shares; a compressor's configuration inherits it."""

    seconds_per_batch: float = Field(default=160.0, gt=0)
    """Speech in one batch at most, in seconds, before cropping to its shortest utterance."""
    accumulate_batches: int = Field(default=1, ge=1)
    """Batches whose mean gradient makes one update; 4 stand for four GPUs."""
    min_duration_s: float = Field(default=1.0, gt=0)
    """Utterances shorter than this are left out."""
    max_duration_s: float = Field(default=15.625, gt=0)
    """Longer utterances are cropped to this, at a new random place each time, or left out."""
    drop_longer: bool = False
    """Leave out utterances that are longer than ``max_duration_s``, as DPHuBERT's recipe does, instead of cropping
    them."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that read audio beside the training; the result does not depend on it."""
    precision: Precision = "fp32"
    """``bf16`` and ``fp16`` are mixed precision; gates and losses stay in fp32. On the CPU there is no ``fp16``, and
    ``bf16`` where the processor has units for it. ``auto``: ``bf16`` where the device has units for it and its
    convolutions come out right in it, else ``fp32``."""
    max_gradient_norm: float = Field(default=10.0, gt=0)
    """The gradient over all parameters, gates and multipliers included, is clipped to this norm.

    Source: DPHuBERT's recipe."""
    checkpoint_updates: int = Field(default=500, ge=1)
    """Updates between two checkpoints: what an interruption loses at most."""
    log_updates: int = Field(default=50, ge=1)
    """Updates that one row of ``training.csv`` averages."""
    max_loss_ratio: float | None = Field(default=None, gt=1)
    """A stage stops where three rows of ``training.csv`` on end have a loss this many times the lowest before them.
    None: only where it is not finite, for losses that may rise or change their sign."""


class Objective(nn.Module, ABC):
    """Everything that a stage trains, and the loss it trains it with. Its state is the stage's checkpoint."""

    @abstractmethod
    def forward(self, *inputs: Any, **named: Any) -> dict[str, Tensor | float]:
        """Compute the loss.

        Args:
            inputs: what the stage's batches hold beside their number, waveforms (batch, samples) float32 at 16 kHz
                without padding as the first; then the finished optimiser updates of this stage.
            named: none.

        Returns:
            ``loss``, a scalar to minimise, and further scalars for ``training.csv``.
        """

    @abstractmethod
    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return torch's parameter groups for AdamW; ``learning_rate`` is the stage's."""

    def before_update(self, update: int, optimizer: Optimizer) -> None:
        """Change what is trained, and the optimiser with it, as a function of the state that checkpoints keep.

        Args:
            update: finished updates of this stage.
            optimizer: of `parameter_groups`, without gradients.
        """
