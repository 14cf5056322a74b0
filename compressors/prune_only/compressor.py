"""Structured pruning by importance alone, without a teacher's signal, and recovery on HuBERT's own objective.

Source: Li et al., Pruning Filters for Efficient ConvNets (arXiv 1608.08710) for magnitudes, Molchanov et al.,
Importance Estimation for Neural Network Pruning (arXiv 1906.10771) for Taylor expansions, HuBERT (arXiv 2106.07447) for
the objective.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.data import Subset
from typing_extensions import Self

from bench.contracts import AudioSource, Context, Settings
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import DropoutRates
from compressors.objectives.distillation import trainable_copy
from compressors.objectives.masked_prediction import HeadFitting, MaskedPrediction, MaskedPredictionConfig, Target
from compressors.prune_only.importance import (
    Importance,
    Scores,
    magnitude_scores,
    masks_within_budget,
    random_scores,
    taylor_scores,
)
from compressors.size.budget import Budget, budget_for
from compressors.size.pruning import pruned_model, report_size, require_reachable
from compressors.size.several_sizes import models_to_make, target_sparsities, training_of
from compressors.training.kept_tensors import Snapshots, kept_tensors
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.seeds import derived_seed
from compressors.training.stages import StageConfig
from compressors.training.warm_start import WarmStartConfig, require_start, start_shape
from compressors.units.batches import UnitBatches
from compressors.units.frame_features import MfccFeatures

if TYPE_CHECKING:
    from compressors.training.loop import Training
    from compressors.units.labels import FrameUnits


class PruneOnlyConfig(WarmStartConfig, MaskedPredictionConfig):
    """What is pruned by which importance, and how the model recovers."""

    importance: Importance = "taylor"
    """``l1`` and ``l2``: the size of a unit's weights. ``taylor``: how much the masked-prediction loss would change
    without it, to the first order. ``random``: the floor."""
    pruning_steps: int = Field(default=1, ge=1)
    """To each size. 1 is one-shot; in more steps the sparsity rises linearly, importances are found anew, and each step
    has an equal part of the recovery."""
    taylor_batches: int = Field(default=32, ge=1)
    """Batches that ``taylor`` averages over at each step: forward and backward, without an update."""
    num_clusters: int = Field(default=100, ge=2, le=30_000)
    """k-means clusters of MFCCs, the units that masked prediction guesses. Source: HuBERT section IV-B."""
    kmeans_share: float = Field(default=0.1, gt=0, le=1)
    """Share of the files whose frames the clusters are found on. Source: HuBERT section IV-B."""
    head: StageConfig
    """A mask embedding and a predictor of the clusters learn on the frozen model; left out where neither ``taylor`` nor
    a recovery needs them."""
    recovery: StageConfig | None
    """Masked prediction after pruning, shared out equally between the steps; null: none."""
    dropout: DropoutRates = DropoutRates()
    """The model's dropout rates while it recovers. Source: DPHuBERT's recipe."""

    @model_validator(mode="after")
    def _every_step_recovers(self) -> Self:
        steps = self.pruning_steps * max(len(self.sizes), 1)
        if self.recovery is not None and self.recovery.updates < steps:
            wanted = f"pruning_steps {self.pruning_steps}" + (f" times {len(self.sizes)} sizes" if self.sizes else "")
            raise ValueError(f"recovery.updates {self.recovery.updates} must be at least {wanted}")
        return self

    @classmethod
    def as_kept(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Drop ``rescale: false`` from the settings of an old run; that setting no longer exists."""
        return {name: value for name, value in settings.items() if (name, value) != ("rescale", False)}

    @property
    def needs_head(self) -> bool:
        """Whether anything predicts units."""
        return self.recovery is not None or (self.importance == "taylor" and not self.keep_shape)

    @property
    def num_steps(self) -> int:
        """Parts of the recovery to each size."""
        return 1 if self.keep_shape else self.pruning_steps

    def stages(self) -> dict[str, StageConfig]:
        """Return the stages that will be run."""
        return {name: stage for name, stage in super().stages().items() if name != "head" or self.needs_head}

    def shared_stages(self) -> dict[str, StageConfig]:
        """Return the recovery; the head is fitted once, before the first size."""
        return {name: stage for name, stage in self.stages().items() if name != "head"}

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all stages; each step of pruning leaves its share.

        The head's gradient goes back through the frozen model, to the mask embedding. Taylor's batches do not count.
        """
        heard = self.macs_a_second(teacher)
        stages = self.stages()
        macs = self.stage_macs(stages["head"], 2 * heard, 0) if "head" in stages else 0
        before = 1.0
        for config in self.each_size():
            budget = budget_for(config, teacher)
            left = budget.wanted / budget.original
            mean = left if self.keep_shape else before + (left - before) * (self.num_steps + 1) / (2 * self.num_steps)
            macs += self.stage_macs(config.recovery, 0, mean * heard) if config.recovery else 0
            before = left
        return macs


PAPER = PruneOnlyConfig(
    # DPHuBERT's number of updates and its batch, for no paper has this very recipe; mask and loss are HuBERT's.
    head=StageConfig(updates=5_000, warmup_updates=500, learning_rate=5e-4),
    recovery=StageConfig(updates=70_000, warmup_updates=15_000, learning_rate=2e-4),
    sparsity=0.75,
    units=("conv", "head", "interm"),
    seconds_per_batch=160,
    accumulate_batches=4,
    min_duration_s=2.0,
    max_duration_s=15.625,
    drop_longer=True,
    precision="fp16",
    max_gradient_norm=10.0,
    num_workers=4,
)

MINI = PruneOnlyConfig(
    head=StageConfig(updates=100, warmup_updates=10, learning_rate=1e-2),
    recovery=StageConfig(updates=350, warmup_updates=35, learning_rate=1e-3),
    pruning_steps=4,
    unmasked_loss_weight=0.4,
    feature_penalty_weight=0.0,
    extractor_gradient_scale=1.0,
    projection_dim=64,
    seconds_per_batch=4.0,
    min_duration_s=0.5,
    max_duration_s=2.0,
    checkpoint_updates=50,
    log_updates=10,
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


class PruneOnly(TrainingCompressor):
    """The compressor ``prune-only``."""

    name: ClassVar[str] = "prune-only"
    summary: ClassVar[str] = "structured pruning by importance, without a teacher (arXiv 1608.08710, 1906.10771)"
    config_type: ClassVar[type[PruneOnlyConfig]] = PruneOnlyConfig
    presets: ClassVar[Mapping[str, PruneOnlyConfig]] = {"paper": PAPER, "mini": MINI, "smoke": SMOKE}

    config: PruneOnlyConfig

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work.

        Raises:
            UserError: the teacher is no speech model, the budget is out of its units' reach, the model to start from is
                no part of it or nothing would be done with it, or the audio unusable.
        """
        require_trainable(teacher, self.config, context)
        require_start(teacher, self.config, context)
        if not self.config.keep_shape:
            require_reachable(teacher.config, self.config, start_shape(context))
        elif self.config.recovery is None:
            raise UserError(
                "Expected something to do with the model of --from. Found neither a smaller size nor a recovery. Leave "
                "recovery=null out, or set sparsity."
            )
        require_audio(audio, self.config, teacher)

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Settings:
        """Return the settings for a warm start; see `bench.contracts.Compressor`."""
        return self.config.warm_started(start, teacher, chosen)

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Prune and recover, or do what is left of it; see `bench.contracts.Compressor`."""
        training = prepared_training(self.name, self.config, teacher, audio, workdir, context)
        target = Target(teacher.num_layers, self.config.num_clusters)
        beginning = context.start.model if context.start else teacher
        prediction = MaskedPrediction(trainable_copy(beginning, self.config.dropout), [target], self.config)
        pruning = Pruning(self.config, training, prediction)
        models = models_to_make(self.name, self.config)
        pruning.fit_head(next(iter(models)))
        for model, config in models.items():
            pruning.make(model, config, budget_for(config, teacher.config))
        return {model: upstream.eval() for model, upstream in pruning.models.items()}

    def target_sparsities(self) -> Mapping[str, float | None]:
        """Return the target of each size; see `bench.contracts.Compressor`."""
        return target_sparsities(self.name, self.config) or super().target_sparsities()


class Pruning:
    """One compression, which goes on where an earlier one in the same folder stopped."""

    def __init__(self, config: PruneOnlyConfig, training: Training, prediction: MaskedPrediction) -> None:
        """Prepare it.

        Args:
            config: of the method.
            training: runs the stages, and keeps in its folder what a resumed compression needs.
            prediction: holds the model, which is pruned in place of the one it holds.
        """
        self.config = config
        self.training = training
        self.prediction = prediction
        self.models: dict[str, UpstreamModel] = {}
        """What has been made, by name."""
        self.num_steps = 0
        """Steps of pruning and recovery so far."""

    def fit_head(self, model: str) -> None:
        """Fit mask embedding and predictor, where anything needs them; the history is the one of ``model``."""
        if self.config.needs_head:
            fitting = HeadFitting(self.prediction)
            training_of(self.training, model).run("head", self.config.head, fitting, self._batches)
            fitting.release()

    def make(self, model: str, config: PruneOnlyConfig, budget: Budget) -> None:
        """Prune and recover step by step from what there is, and keep the result among `models`.

        Args:
            model: its name.
            config: with its share of the recovery.
            budget: of the result.
        """
        training = training_of(self.training, model)
        beginning = budget.reached(self._shape)
        for step in range(1, config.num_steps + 1):
            self.num_steps += 1
            if not config.keep_shape:
                self._prune(budget.part(step / config.num_steps, beginning), self.num_steps)
            if config.recovery is not None:
                stage = config.recovery.part(step, config.num_steps)
                training.run(f"recovery-{self.num_steps}", stage, self.prediction, self._batches)
        report_size(self._shape, budget, config)
        self.models[model] = self.prediction.upstream

    def _prune(self, budget: Budget, step: int) -> None:
        self.prediction.upstream = pruned_model(self.prediction.upstream, self._masks(budget, step), self.config)

    def _batches(self, seed: int) -> UnitBatches:
        return UnitBatches(self.training.files, [self._units], self._shape, self.config, seed)

    @cached_property
    def _units(self) -> FrameUnits:
        from compressors.units.clusters import cluster_units  # Here, for scikit-learn takes seconds to import.

        return cluster_units(
            MfccFeatures(self._shape, self.config.num_workers),
            self.config.num_clusters,
            self.training.files,
            config=self._shape,
            share=self.config.kmeans_share,
            seed=self._seed("units"),
            folder=self.training.workdir / "units",
        )

    def _masks(self, budget: Budget, step: int) -> dict[str, Tensor]:
        """Decide what step ``step`` keeps, once and for all."""
        masks = kept_tensors(
            self.training.workdir / f"masks-{step}.safetensors",
            lambda: masks_within_budget(self._scores(step), self._shape, budget, self.config),
        )
        self._snapshots(step).remove()
        return masks

    def _snapshots(self, step: int) -> Snapshots:
        return Snapshots(self.training.workdir / f"importances-{step}.safetensors")

    def _scores(self, step: int) -> Scores:
        seed = self._seed("importance", step)
        if self.config.importance == "taylor":
            batches: Any = Subset(self._batches(seed), range(self.config.taylor_batches))
            return taylor_scores(
                self.prediction,
                batches,
                self.config.units,
                device=self.training.context.device,
                seed=seed,
                snapshots=self._snapshots(step),
            )
        if self.config.importance == "random":
            return random_scores(self._shape, self.config.units, seed)
        return magnitude_scores(self.prediction.upstream, self.config.units, self.config.importance)

    def _seed(self, *purpose: object) -> int:
        return derived_seed(self.training.context.seed, *purpose)

    @property
    def _shape(self) -> UpstreamConfig:
        return self.prediction.upstream.config
