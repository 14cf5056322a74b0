"""The settings of ``prune-only``. Those that other methods share are in `compressors.settings`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from bench.contracts.bounds import Batches
from bench.errors import UserError
from bench.text import shortened
from bench.upstream import UpstreamConfig
from bench.upstream.config import DropoutRates
from compressors.presets import DPHUBERT_TRAINING, MINI_MASKED_PREDICTION, MINI_TRAINING
from compressors.settings import StageConfig, TeacherUnitsConfig
from compressors.size.budget import budget_for
from compressors.size.warm_start import WarmStartConfig

Importance = Literal["l1", "l2", "clusters", "taylor", "random"]

AS_MODEL = "as:"
"""Begins the ``allocation`` that copies the widths of a model."""


class PruneOnlyConfig(WarmStartConfig, TeacherUnitsConfig):
    """Settings of pruning by importance, and of the recovery."""

    importance: Importance = "taylor"
    """``l1`` and ``l2``: the size of a unit's weights. ``clusters``: the distance of its weights from those of similar
    units; one unit of each cluster stays. ``taylor``: how much the masked-prediction loss would change
    without the unit, to first order. ``random``: a baseline."""
    pruning_steps: int = Field(default=1, ge=1, le=10_000)
    """Pruning steps to each size. 1 is one-shot. With more steps the sparsity rises linearly, each step computes new
    importances, and each has an equal part of the recovery."""
    taylor_batches: Batches = 32
    """Batches that ``taylor`` averages over at each step: forward and backward, without an update."""
    allocation: str = Field(default="uniform", pattern=f"^(uniform|global|{AS_MODEL}.+)$")
    """How many units each layer keeps. ``uniform``: the same share of every kind of unit. ``global``: all units compete
    by their importance, for the parameters or MACs that they cost. ``as:MODEL``: as many as in MODEL, a model pruned
    from the same teacher to the same size. Importance then only decides which ones."""
    unit_source: Literal["own", "mfcc"] = "own"
    """What masked prediction predicts. ``own``: clusters of the unpruned model's hidden state ``cluster_layer``, as in
    HuBERT's second iteration. ``mfcc``: clusters of MFCCs, as in its first."""
    head: StageConfig
    """A mask embedding and a unit predictor learn on the frozen model. Skipped if neither ``taylor`` nor a recovery
    needs them."""
    recovery: StageConfig | None
    """Masked prediction after pruning, divided equally among the steps. null: no recovery."""
    dropout: DropoutRates = DropoutRates()
    """The model's dropout rates in the recovery. Source: DPHuBERT's recipe."""

    @model_validator(mode="after")
    def _copies_one_size(self) -> Self:
        if self.allocated_as and self.sizes:
            raise ValueError(
                f"allocation={self.allocation} has one size, and sparsity several; give sparsity one number"
            )
        return self

    @model_validator(mode="after")
    def _clusters_units_of_one_layer(self) -> Self:
        blocks = {"attlayer", "ffnlayer"}.intersection(self.units)
        if self.importance == "clusters" and blocks:
            raise ValueError(
                f"importance=clusters compares the units of one layer, and {' and '.join(sorted(blocks))} have one "
                "each; leave them out of units, or choose another importance"
            )
        return self

    @model_validator(mode="after")
    def _every_step_recovers(self) -> Self:
        steps = self.pruning_steps * max(len(self.sizes), 1)
        if self.recovery is not None and self.recovery.updates < steps:
            wanted = f"pruning_steps {self.pruning_steps}" + (f" times {len(self.sizes)} sizes" if self.sizes else "")
            raise ValueError(f"recovery.updates {self.recovery.updates} must be at least {wanted}")
        return self

    @classmethod
    def as_kept(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the settings of an old run: units were those of MFCCs, and ``rescale`` could only be false."""
        kept = {name: value for name, value in settings.items() if (name, value) != ("rescale", False)}
        return {"unit_source": "mfcc", **kept}

    def fields_without_effect(self) -> Collection[str]:
        """Name the settings of units, importances and widths that the other settings do not use."""
        units = ("cluster_layer", "kmeans_seed") if self.unit_source == "mfcc" else ()
        batches = () if self.importance == "taylor" else ("taylor_batches",)
        widths = ("round_to",) if self.allocated_as else ()
        return {*super().fields_without_effect(), *units, *batches, *widths}

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Self:
        """Return the recipe for a warm start; see `bench.contracts.Compressor.warm_started`."""
        fitted = super().warm_started(start, teacher, chosen)
        if fitted.keep_shape and "allocation" in chosen:
            raise UserError(
                f"Expected a size below that of --from with allocation={shortened(self.allocation, 100)}. Found none, "
                "so nothing is pruned. Set sparsity, or leave allocation out."
            )
        return fitted

    @property
    def allocated_as(self) -> str | None:
        """Reference of the model whose widths are copied, if any."""
        return self.allocation.removeprefix(AS_MODEL) if self.allocation.startswith(AS_MODEL) else None

    @property
    def needs_head(self) -> bool:
        """Whether anything needs a unit predictor."""
        return self.recovery is not None or (self.importance == "taylor" and not self.keep_shape)

    @property
    def num_steps(self) -> int:
        """Number of parts of the recovery of each size."""
        return 1 if self.keep_shape else self.pruning_steps

    def stages(self) -> dict[str, StageConfig]:
        """Return the stages that will run."""
        return {name: stage for name, stage in super().stages().items() if name != "head" or self.needs_head}

    def shared_stages(self) -> dict[str, StageConfig]:
        """Return the recovery. The head is fitted once, before the first size."""
        return {name: stage for name, stage in self.stages().items() if name != "head"}

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all stages.

        The head's gradient goes through the frozen model to the mask embedding. Taylor's batches are not counted.
        """
        whole = self.macs_a_second(teacher)
        stages = self.stages()
        macs = self.stage_macs(stages["head"], 2 * whole, 0) if "head" in stages else 0
        before = 1.0
        for config in self.each_size():
            budget = budget_for(config, teacher)
            left = budget.wanted / budget.original
            mean = left if self.keep_shape else before + (left - before) * (self.num_steps + 1) / (2 * self.num_steps)
            macs += self.stage_macs(config.recovery, 0, mean * whole) if config.recovery else 0
            before = left
        return macs


PAPER = PruneOnlyConfig(
    # No paper has exactly this recipe: updates and batches are DPHuBERT's; mask, loss and units HuBERT's.
    head=StageConfig(updates=5_000, warmup_updates=500, learning_rate=5e-4),
    recovery=StageConfig(updates=70_000, warmup_updates=15_000, learning_rate=2e-4),
    sparsity=0.75,
    units=("conv", "head", "interm"),
    **DPHUBERT_TRAINING,
)

MINI = PruneOnlyConfig(
    head=StageConfig(updates=100, warmup_updates=10, learning_rate=1e-2),
    recovery=StageConfig(updates=350, warmup_updates=35, learning_rate=1e-3),
    pruning_steps=4,
    num_clusters=100,
    **MINI_MASKED_PREDICTION,
    **MINI_TRAINING,
)

SMOKE = MINI.model_copy(
    update={
        "head": StageConfig(updates=4, warmup_updates=1, learning_rate=1e-2),
        "recovery": StageConfig(updates=8, warmup_updates=2, learning_rate=1e-3),
        "pruning_steps": 1,
        "taylor_batches": 4,
        "num_clusters": 16,
        "kmeans_share": 1.0,
        "log_updates": 2,
    }
)
