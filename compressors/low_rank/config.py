"""The settings of ``low-rank``. Those that other methods share are in `compressors.settings`."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from pydantic import Field, model_validator
from typing_extensions import Self

from bench.contracts.bounds import Batches
from bench.upstream import UpstreamConfig
from compressors.presets import DPHUBERT_TRAINING, MINI_TRAINING
from compressors.settings import BudgetConfig, DistillationConfig, StageConfig
from compressors.size.budget import budget_for
from compressors.size.linears import LinearGroup
from compressors.training.staged_training import StagedTraining

BUDGET_FIELDS = frozenset(BudgetConfig.model_fields)


class LowRankConfig(StagedTraining, DistillationConfig, BudgetConfig):
    """Settings of the decomposition, and of the recovery."""

    measures_latency: ClassVar[bool] = True

    linears: tuple[LinearGroup, ...] = Field(default=("attention", "feed_forward"), min_length=1)
    """Linear layers that may become low-rank: ``attention``, ``feed_forward``, and the ``projection`` of the
    extractor's features. A layer stays dense if its rank would not save weights."""
    energy: float | None = Field(default=None, gt=0, lt=1)
    """Share of each layer's energy to keep, instead of a budget. The rest is the squared error of the layer's weights,
    or with ``whiten`` of its outputs."""
    whiten: bool = True
    """Measure energy on the layers' outputs for training audio instead of on their weights."""
    whiten_batches: Batches = 32
    """Batches of audio for ``whiten``."""
    recovery: StageConfig | None
    """The low-rank model learns from the teacher. null: no recovery."""

    @model_validator(mode="after")
    def _has_energy_or_a_budget(self) -> Self:
        given = sorted(self.model_fields_set & BUDGET_FIELDS)
        if self.energy is not None and given:
            raise ValueError(f"energy={self.energy} decides the size, and so does {', '.join(given)}; leave one out")
        return self

    def fields_without_effect(self) -> Collection[str]:
        """Name the budget's settings if ``energy`` decides the size."""
        own = () if self.energy is None else BUDGET_FIELDS
        return {*super().fields_without_effect(), *own}

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of the recovery. With ``energy`` the size is not known yet; count a dense model."""
        if self.recovery is None:
            return 0
        whole, kept = self.macs_a_second(teacher), 1.0
        if self.energy is None:
            budget = budget_for(self, teacher)
            kept = budget.wanted / budget.original
        return self.stage_macs(self.recovery, whole, kept * whole)


PAPER = LowRankConfig(
    # No paper has exactly this recipe: updates and batches are DPHuBERT's.
    recovery=StageConfig(updates=75_000, warmup_updates=15_000, learning_rate=2e-4),
    **DPHUBERT_TRAINING,
)

MINI = LowRankConfig(recovery=StageConfig(updates=450, warmup_updates=45, learning_rate=1e-3), **MINI_TRAINING)

SMOKE = MINI.model_copy(
    update={
        "recovery": StageConfig(updates=12, warmup_updates=2, learning_rate=1e-3),
        "whiten_batches": 4,
        "log_updates": 2,
    }
)
