"""The settings of ``dphubert``. Those that other methods share are in `compressors.settings`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from bench.contracts.bounds import BatchS, LearningRate
from bench.upstream import UpstreamConfig
from compressors.presets import DPHUBERT_TRAINING, MINI_MASKED_PREDICTION, MINI_TRAINING
from compressors.settings import PruningConfig, StageConfig, StudentObjectiveConfig
from compressors.size.budget import budget_for
from compressors.size.warm_start import WarmStartConfig

FIXED_SCHEDULE_FIELDS = frozenset(
    {"gate_learning_rate", "multiplier_learning_rate", "initial_quadratic_multiplier", "sparsity_warmup_updates"}
)


class SparsityConfig(PruningConfig):
    """How the gates close until the model meets its budget."""

    gates: Literal["hard_concrete", "self_pinching"] = "hard_concrete"
    """``hard_concrete``: one number per unit, sampled with noise (DPHuBERT). ``self_pinching``: one threshold per layer
    and kind of unit; units whose weights are small compared with it close, without noise. Source: arXiv 2505.22608,
    for single weights."""
    schedule: Literal["fixed", "auto"] = "fixed"
    """``fixed`` is DPHuBERT's. Its rates and ramp must fit the number of updates. ``auto`` fits ramp, multipliers and
    the gates' learning rate to the stage; the next four settings then have no effect."""
    gate_learning_rate: LearningRate = 0.02
    """Peak learning rate of the gates. Source: DPHuBERT section 4.1."""
    multiplier_learning_rate: LearningRate = 0.02
    """Peak learning rate of the Lagrangian's multipliers, by gradient ascent. Source: DPHuBERT section 4.1."""
    initial_quadratic_multiplier: float = Field(default=0.0, ge=0)
    """Initial value of the quadratic multiplier, 0 in DPHuBERT. Multipliers move by about their learning rate per
    update, so in short stages they overshoot the target. An initial value above 0 makes the expected sparsity follow
    the target closely."""
    sparsity_warmup_updates: int = Field(default=5000, ge=0, le=100_000_000)
    """Updates over which the target sparsity rises linearly from 0."""
    threshold: Literal["target", "reference"] = "target"
    """Which gates close at the end of the stage. ``target`` closes as few as meet the budget, and lands within 1 %
    below it. ``reference`` follows the gates' own expectation, as DPHuBERT does, and misses the budget by as much as
    training missed it."""
    expected_size: Literal["whole", "reference"] = "whole"
    """How training computes the gates' expected number of parameters. ``whole`` is what pruning would leave.
    ``reference`` leaves out WavLM's position bias, counts output biases that go with a block's last unit, and does not
    count the channel that every convolution keeps. Budgets in MACs or in absolute terms always use ``whole``."""

    shrink: bool = False
    """Remove heads and feed-forward units from the student during training once their gates open in less than one pass
    of twenty, so that late updates cost less. The last unit of a layer, and convolutions, stay until the stage ends."""

    @model_validator(mode="after")
    def _shrinks_only_what_it_can(self) -> Self:
        if self.shrink and self.gates == "self_pinching":
            raise ValueError("shrink=true needs gates=hard_concrete; leave one of them out")
        return self

    def fields_without_effect(self) -> Collection[str]:
        """Name the settings that only the fixed schedule uses."""
        own = FIXED_SCHEDULE_FIELDS if self.schedule == "auto" else ()
        return {*super().fields_without_effect(), *own}


class DPHuBERTConfig(WarmStartConfig, StudentObjectiveConfig, SparsityConfig):
    """Settings of the two stages, of pruning, and of what the student learns from."""

    task_loss: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    """Task whose training loss is added in both stages, such as ``asr`` or ``ks``: gates and weights then keep what the
    task needs. null: none. Source: DiariZen (arXiv 2505.24111)."""
    task_weight: float = Field(default=0.1, gt=0)
    """Weight of the task's loss (``task_loss``). Cross-entropy starts at the logarithm of the number of classes; L1 and
    cosine together span less than 1."""
    task_seconds_per_batch: BatchS | None = None
    """Most labelled speech in one batch of ``task_loss``, in whole utterances; longer ones are left out. null:
    ``seconds_per_batch``."""

    joint: StageConfig
    """Stage 1: the student learns from the teacher while its gates close."""
    final: StageConfig
    """Stage 2: the pruned student learns from the teacher."""

    def fields_without_effect(self) -> Collection[str]:
        """Name the settings of a task's loss if there is none."""
        own = () if self.task_loss else ("task_weight", "task_seconds_per_batch")
        return {*super().fields_without_effect(), *own}

    def with_num_updates(self, num_updates: int) -> Self:
        """Scale the stages, and the ramp of the sparsity with them."""
        return self._with_ramp(super().with_num_updates(num_updates))

    def each_size(self) -> list[Self]:
        """Share out the stages and the ramp of the sparsity among the sizes."""
        return [self._with_ramp(config) for config in super().each_size()]

    def _with_ramp(self, changed: Self) -> Self:
        ramp = round(self.sparsity_warmup_updates * changed.joint.updates / self.joint.updates)
        return changed.model_copy(update={"sparsity_warmup_updates": ramp})

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Self:
        """Return the settings for a warm start, with ``schedule=auto`` unless the user chose a schedule.

        The fixed schedule's rates suit ten times as many updates.
        """
        changed = super().warm_started(start, teacher, chosen)
        if changed.keep_shape or {"schedule", *FIXED_SCHEDULE_FIELDS} & set(chosen):
            return changed
        return changed.model_copy(update={"schedule": "auto"})

    def stages(self) -> dict[str, StageConfig]:
        """Return the stages that will run."""
        return {name: stage for name, stage in super().stages().items() if name != "joint" or not self.keep_shape}

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all stages. A gated student costs what it did before pruning."""
        whole = gated = self.macs_a_second(teacher)
        extractor = self.macs_a_second(teacher.model_copy(update={"layers": ()}))
        teacher_passes, passes = self.num_passes(extractor / whole)
        if self.task_loss:
            passes += (self.task_seconds_per_batch or self.seconds_per_batch) / self.seconds_per_batch
        macs = 0
        for config in self.each_size():
            budget = budget_for(config, teacher)
            pruned = whole * budget.wanted / budget.original
            macs += 0 if config.keep_shape else config.stage_macs(config.joint, teacher_passes * whole, passes * gated)
            macs += config.stage_macs(config.final, teacher_passes * whole, passes * pruned)
            gated = pruned
        return macs


PAPER = DPHuBERTConfig(
    joint=StageConfig(updates=50_000, warmup_updates=15_000, learning_rate=2e-4),
    final=StageConfig(updates=25_000, warmup_updates=5_000, learning_rate=1e-4),
    sparsity=0.75,
    units=("conv", "head", "interm"),
    gate_learning_rate=0.02,
    multiplier_learning_rate=0.02,
    initial_quadratic_multiplier=0.0,
    sparsity_warmup_updates=5_000,
    threshold="reference",
    expected_size="reference",
    keep_position_bias=False,
    **DPHUBERT_TRAINING,
)

MINI = DPHuBERTConfig(
    joint=StageConfig(updates=300, warmup_updates=30, learning_rate=1e-3),
    final=StageConfig(updates=150, warmup_updates=15, learning_rate=1e-3),
    gate_learning_rate=0.1,
    initial_quadratic_multiplier=10.0,
    sparsity_warmup_updates=150,
    num_clusters=100,
    **MINI_MASKED_PREDICTION,
    **MINI_TRAINING,
)

SMOKE = MINI.model_copy(
    update={
        "joint": StageConfig(updates=8, warmup_updates=2, learning_rate=1e-3),
        "final": StageConfig(updates=4, warmup_updates=1, learning_rate=1e-3),
        "sparsity_warmup_updates": 2,
        "num_clusters": 16,
        "log_updates": 2,
    }
)
