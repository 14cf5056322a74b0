"""The settings that several methods share, in groups. A method's configuration inherits the groups it needs.

A group has settings and what follows from them alone. What needs more (a shape, a budget, audio) lives with its user.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator
from typing_extensions import Self

from bench.contracts import Settings
from bench.contracts.bounds import Batches, BatchS, DurationS, LearningRate, Processes, Seed, Steps, Width
from bench.upstream.config import DropoutRates

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Float32MatmulPrecision = Literal["auto", "highest", "high", "medium"]
Unit = Literal["conv", "head", "interm", "attlayer", "ffnlayer"]
LayerGroups = tuple[tuple[int, ...], ...]


class StageConfig(Settings):
    """Length and learning rate of one training stage."""

    updates: Steps
    """Optimiser updates."""
    warmup_updates: int = Field(ge=0, le=100_000_000)
    """Updates over which the learning rate rises linearly. After that it falls linearly to 0."""
    learning_rate: LearningRate
    """Peak learning rate of the weights of the model and its projections."""
    use_last_update: bool = False
    """True: the learning rate reaches 0 after the last update. False: it reaches 0 at the last update, which then
    changes nothing, as in DPHuBERT's reference implementation."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_updates >= self.updates:
            raise ValueError(f"warmup_updates {self.warmup_updates} must be below updates {self.updates}")
        return self

    def in_updates(self, updates: int) -> Self:
        """Return the same stage with ``updates`` updates, and its warm-up scaled with them."""
        warmup = min(round(self.warmup_updates * updates / self.updates), updates - 1)
        return self.model_copy(update={"updates": updates, "warmup_updates": warmup})

    def part(self, part: int, num_parts: int) -> Self:
        """Return one of several equal parts of the stage. Each has its own warm-up; together they have its updates.

        Args:
            part: number of the part, from 1.
            num_parts: number of parts, at most ``updates``.
        """
        updates = self.updates * part // num_parts - self.updates * (part - 1) // num_parts
        warmup_updates = self.warmup_updates * updates // self.updates
        return self.model_copy(update={"updates": updates, "warmup_updates": warmup_updates})

    def learning_rate_factor(self, update: int) -> float:
        """Return the factor of all learning rates at ``update``, counted from 0.

        Source: DPHuBERT (arXiv 2305.17651) section 4.1, and its reference implementation.
        """
        if update < self.warmup_updates:
            return (update + 1) / self.warmup_updates
        left = self.updates - update - (0 if self.use_last_update else 1)
        return max(left, 0) / (self.updates - self.warmup_updates)


class TrainingConfig(Settings):
    """Settings of all training stages: audio, precision, checkpoints, logging."""

    seconds_per_batch: BatchS = 160.0
    """Most speech in one batch, in seconds, before cropping to the batch's shortest utterance."""
    accumulate_batches: Batches = 1
    """Batches per update; their gradients are averaged. 4 batches replace 4 GPUs."""
    min_duration_s: DurationS = 1.0
    """Leave out shorter utterances."""
    max_duration_s: BatchS = 15.625
    """Crop longer utterances to this length, at a new random place each time, or leave them out (``drop_longer``)."""
    drop_longer: bool = False
    """Leave out utterances longer than ``max_duration_s`` instead of cropping them, as DPHuBERT's recipe does."""
    num_workers: Processes = 0
    """Extra processes that read audio. The result does not depend on it."""
    precision: Precision = "fp32"
    """``bf16`` and ``fp16`` are mixed precision; gates and losses stay in fp32. The CPU has no ``fp16``, and ``bf16``
    only if the processor has units for it. ``auto`` is ``bf16`` if the device has units for it and computes
    convolutions correctly in it, else ``fp32``."""
    float32_matmul_precision: Float32MatmulPrecision = "auto"
    """How a GPU multiplies float32 matrices: ``highest`` in float32, ``high`` in TF32, ``medium`` in bf16. ``auto`` is
    ``high``. The CPU always uses ``highest``."""
    max_gradient_norm: float = Field(default=10.0, gt=0)
    """Clip the gradient over all parameters, including gates and multipliers, to this norm.

    Source: DPHuBERT's recipe."""
    checkpoint_updates: Steps = 500
    """Updates between two checkpoints. An interruption loses at most this many."""
    log_updates: Steps = 50
    """Updates that one row of ``training.csv`` averages."""
    max_loss_ratio: float | None = Field(default=None, gt=1)
    """Stop a stage when three consecutive rows of ``training.csv`` have a loss above this many times the lowest before
    them. null: stop only at a loss that is not finite, for losses that may rise or change sign."""


_POWERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def _number_of_parameters(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?)", value.strip().lower())
    if found is None:
        raise ValueError("expected a number of parameters such as 23.6M, 900k or 23600000")
    return round(float(found[1]) * _POWERS[found[2]])


def _sizes(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    try:
        numbers = [float(each) for each in values]
    except (TypeError, ValueError):
        numbers = []
    is_ascending = numbers == sorted(set(numbers))
    if not numbers or not is_ascending or not all(0 < number < 1 for number in numbers):
        raise ValueError(
            "expected a number greater than 0 and less than 1, or different ones in ascending order such as [0.5, 0.75]"
        )
    return value


class BudgetConfig(Settings):
    """How small the model becomes. `compressors.size.budget.budget_for` turns it into a number for one teacher."""

    takes_sizes: ClassVar[bool] = False
    """Whether ``sparsity`` may be a list; see `compressors.size.several_sizes`."""

    measures_latency: ClassVar[bool] = False
    """Whether ``target=latency`` is possible: the method keeps the teacher's layers, which can be timed beforehand."""

    target: Literal["params", "macs", "latency"] = "params"
    """What ``sparsity`` is a fraction of: the teacher's ``params`` as DPHuBERT counts them; its ``macs``, the plain
    count over SUPERB's 32 utterance lengths; or its ``latency`` on one thread of this machine, by a table of timed
    layers (methods that prune, and ``low-rank``)."""
    sparsity: Annotated[float | tuple[float, ...], BeforeValidator(_sizes)] = 0.75
    """Fraction of the teacher's parameters or MACs to remove. Some methods take a list in ascending order,
    ``[0.5, 0.75]``: one call makes a model at each sparsity, each one from the one before."""
    params: Annotated[PositiveInt | None, BeforeValidator(_number_of_parameters)] = None
    """Most trainable parameters of the result, as the leaderboard counts them, instead of ``sparsity``: ``23.6M``,
    ``900k`` or ``23600000``."""

    @model_validator(mode="after")
    def _has_one_budget(self) -> Self:
        if self.params is not None and self.target != "params":
            raise ValueError(f"params={self.params} and target={self.target} are two budgets; leave one of them out")
        if self.target == "latency" and not self.measures_latency:
            raise ValueError("target=latency needs a method that keeps the teacher's layers; use params or macs")
        if self.sizes and not self.takes_sizes:
            raise ValueError("this method makes one size at a time; give sparsity one number, or use bench sweep")
        if self.sizes and self.params is not None:
            raise ValueError(f"params={self.params} and several of sparsity are two budgets; leave one of them out")
        return self

    @property
    def sizes(self) -> tuple[float, ...]:
        """The sparsities of a call that makes several models. Empty if it makes one."""
        return self.sparsity if isinstance(self.sparsity, tuple) else ()

    @property
    def final_sparsity(self) -> float:
        """The sparsity of the smallest model."""
        return self.sparsity[-1] if isinstance(self.sparsity, tuple) else self.sparsity


class PruningConfig(BudgetConfig):
    """How small the model becomes, and which units are pruned."""

    measures_latency: ClassVar[bool] = True

    units: tuple[Unit, ...] = Field(default=("conv", "head", "interm"), min_length=1)
    """What is pruned: ``conv`` channels, attention ``head``s, feed-forward units (``interm``), whole attention blocks
    (``attlayer``), whole feed-forward blocks (``ffnlayer``)."""
    keep_position_bias: bool = True
    """True: keep WavLM's relative position bias while any layer has attention. False: remove it with layer 0's
    attention, as DPHuBERT's reference implementation does."""
    keep_output_bias: bool = False
    """What happens to the output bias of a block that loses its last unit. True: it is added to the bias before the
    block. False: it is removed too, as in DPHuBERT's reference implementation."""
    round_to: Width = 1
    """Each convolution keeps a multiple of this many channels, and each feed-forward block a multiple of this many
    units, or all if it has fewer. 8 or more suits the kernels of most devices."""
    keep_shape: bool = False
    """Train the model of ``--from`` in its own shape, without pruning. ``--from`` sets it if you ask for no size, or
    for the model's own."""


class ThinStudentConfig(BudgetConfig):
    """The deep and thin student, which has the teacher's depth at a smaller width."""

    extractor: Literal["auto", "teacher", "thin"] = "auto"
    """Convolutions of the deep and thin student: the ``teacher``'s, or ``thin`` (scaled like the width). ``auto`` is
    ``teacher`` for a budget in parameters, and ``thin`` for one in MACs, a third of which are convolutions."""


class DistillationConfig(Settings):
    """The loss between hidden states of the student and the teacher. DPHuBERT's by default."""

    distillation_layers: LayerGroups | None = None
    """Hidden states to match, in groups that share one linear projection. State 0 is the feature projection.

    By default state 0 alone, and the states at one and two thirds of the depth and the last together:
    ``[[0], [4, 8, 12]]`` for 12 layers. Source: DPHuBERT's recipe."""
    targets: Literal["layers", "groups"] = "layers"
    """``layers``: the single states of ``distillation_layers``. ``groups``: the mean over the states of each group. By
    default, groups are then clusters of similar states. Source: SKILL (arXiv 2402.16830)."""
    num_groups: int = Field(default=4, ge=1, le=256)
    """Number of clusters of states (``targets=groups``)."""
    similarity_batches: Batches = 16
    """Batches of training audio on which the similarity of states is measured (``targets=groups``)."""
    l1_weight: float = Field(default=1.0, ge=0)
    """Weight of the mean absolute difference."""
    l2_weight: float = Field(default=0.0, ge=0)
    """Weight of the mean squared difference."""
    cosine_weight: float = Field(default=1.0, ge=0)
    """Weight of the cosine similarity."""
    cosine: Literal["raw", "log_sigmoid"] = "raw"
    """``raw`` maximises the similarity itself (DPHuBERT), ``log_sigmoid`` its log-sigmoid (DistilHuBERT)."""
    dropout: DropoutRates = DropoutRates()
    """The student's dropout rates in training. Source: DPHuBERT's recipe; none inside the feed-forward blocks."""

    @property
    def clusters_layers(self) -> bool:
        """Whether groups of states have to be found."""
        return self.targets == "groups" and self.distillation_layers is None

    def fields_without_effect(self) -> Collection[str]:
        """Name the settings of clustering if there is none."""
        own = () if self.clusters_layers else ("num_groups", "similarity_batches")
        return {*super().fields_without_effect(), *own}


class MaskedPredictionConfig(Settings):
    """HuBERT's objective: predict the units of masked frames."""

    mask_span_frames: Width = 10
    """Length of a masked span. Source: HuBERT section IV-B."""
    mask_start_probability: float = Field(default=0.08, gt=0, le=1)
    """Share of the frames at which a span starts; spans overlap. Source: HuBERT section IV-B."""
    unmasked_loss_weight: float = Field(default=0.0, ge=0)
    """Weight of the loss on unmasked frames. It is 0 in HuBERT, which learns from masked frames alone."""
    feature_penalty_weight: float = Field(default=10.0, ge=0)
    """Weight of the extractor's mean squared output. Source: HuBERT's reference recipe."""
    extractor_gradient_scale: float = Field(default=0.1, ge=0)
    """Factor of the extractor's gradient; 0 leaves the extractor as it is. Source: HuBERT's reference recipe."""
    projection_dim: Width = 256
    """Width in which states are compared with units. Source: HuBERT section IV-B."""


class TeacherUnitsConfig(MaskedPredictionConfig):
    """Masked prediction of the teacher's units: k-means clusters of one of its hidden states."""

    cluster_layer: int | None = Field(default=None, ge=1)
    """The teacher's hidden state to cluster, from 1 to its depth. By default at three quarters of the depth, 9 of 12.
    Source: HuBERT section IV-B."""
    num_clusters: int = Field(default=500, ge=2, le=30_000)
    """Number of k-means clusters, the units. Source: HuBERT section IV-B."""
    kmeans_share: float = Field(default=0.1, gt=0, le=1)
    """Share of the files that k-means sees. Source: HuBERT section IV-B."""
    kmeans_seed: Seed = 0
    """Seed of the choice of files and of k-means. It is not the run's seed, so all seeds of a run share their units."""


class StudentObjectiveConfig(DistillationConfig, TeacherUnitsConfig):
    """What the student learns from: hidden states, units, or both."""

    objective: Literal["hidden", "masked", "both"] = "hidden"
    """``hidden``: the teacher's hidden states, as in DPHuBERT. ``masked``: the teacher's units (``cluster_layer``,
    ``num_clusters``) at masked frames, as in DiceHuBERT. ``both``: hidden states of the unmasked audio, and the units
    of masked frames in a second pass of the transformer."""
    masked_weight: float = Field(default=0.1, ge=0)
    """Weight of masked prediction next to the loss of hidden states (``both``). The cross-entropy starts at the
    logarithm of ``num_clusters``, about 5 or 6; L1 and cosine together span less than 1."""

    predictor_learning_rate_scale: float = Field(default=10.0, gt=0)
    """Learning rate of the mask embedding, the unit predictor and a task's head, as a multiple of the stage's. They
    start at random, while the student starts as the teacher."""

    @property
    def learns_states(self) -> bool:
        """Whether hidden states are matched."""
        return self.objective != "masked"

    @property
    def predicts_units(self) -> bool:
        """Whether the teacher's units are needed."""
        return self.objective != "hidden"

    def num_passes(self, extractor_share: float) -> tuple[int, float]:
        """Count the forward passes of a training step.

        Args:
            extractor_share: the extractor's share in the MACs of a pass.

        Returns:
            Passes of the teacher, counting units as one pass, as if they were made for every batch; and passes of the
            student, whose extractor runs once per batch.
        """
        return (2, 2 - extractor_share) if self.objective == "both" else (1, 1)
