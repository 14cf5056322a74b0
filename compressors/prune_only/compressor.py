"""prune-only: structured pruning by importance, and recovery on HuBERT's own objective.

Source: Li et al., Pruning Filters for Efficient ConvNets (arXiv 1608.08710) for magnitudes, Molchanov et al.,
Importance Estimation for Neural Network Pruning (arXiv 1906.10771) for Taylor expansions, Xu et al. (arXiv 2606.11836)
for clusters, HuBERT (arXiv 2106.07447) for the objective.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.utils.data import Subset

from bench.contracts import AudioSource, Context, Settings
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.cost import kept_units
from bench.workers.ranks import first_goes_first
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.prune_only.allocation import copied_masks, global_masks, uniform_masks, wanted_shape
from compressors.prune_only.clustering import cluster_scores
from compressors.prune_only.config import MINI, PAPER, SMOKE, PruneOnlyConfig
from compressors.prune_only.head_fitting import HeadFitting
from compressors.prune_only.importance import (
    Scores,
    magnitude_scores,
    random_scores,
    taylor_scores,
)
from compressors.size.budget import Budget, budget_for, timings
from compressors.size.pruning import pruned_model, report_size, require_reachable
from compressors.size.several_sizes import models_to_make, target_sparsities, training_of
from compressors.size.warm_start import require_start, start_shape
from compressors.students.copies import trainable_copy
from compressors.training.kept_tensors import Snapshots, kept_tensors
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.seeds import derived_seed
from compressors.units.batches import UnitBatches
from compressors.units.frame_features import MfccFeatures
from compressors.units.teacher_units import require_units, teacher_units

if TYPE_CHECKING:
    from compressors.training.loop import Training
    from compressors.units.labels import FrameUnits


class PruneOnly(TrainingCompressor):
    """The compressor ``prune-only``."""

    name: ClassVar[str] = "prune-only"
    summary: ClassVar[str] = (
        "structured pruning by importance, recovery by masked prediction (arXiv 1608.08710, 1906.10771)"
    )
    config_type: ClassVar[type[PruneOnlyConfig]] = PruneOnlyConfig
    presets: ClassVar[Mapping[str, PruneOnlyConfig]] = {"paper": PAPER, "mini": MINI, "smoke": SMOKE}

    config: PruneOnlyConfig

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work.

        Raises:
            UserError: the teacher is not a speech model, its units cannot reach the budget, the model of ``--from`` is
                not part of the teacher or would not change, the model of ``allocation`` does not fit, or the audio is
                unusable.
        """
        require_trainable(teacher, self.config, context)
        require_start(teacher, self.config, context)
        if not self.config.keep_shape:
            require_reachable(teacher.config, self.config, start_shape(context))
            wanted_shape(self.config, teacher.config, start_shape(context))
        elif self.config.recovery is None:
            raise UserError(
                "Expected a smaller size or a recovery for the model of --from. Found neither. Leave "
                "recovery=null out, or set sparsity."
            )
        files = require_audio(audio, self.config, teacher)
        if self.config.needs_head and self.config.unit_source == "own":
            require_units(teacher, files, self.config)

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Settings:
        """Return the settings for a warm start; see `bench.contracts.Compressor`."""
        return self.config.warm_started(start, teacher, chosen)

    def train(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Prune and recover, or do the rest of it; see `TrainingCompressor`."""
        wanted = None if self.config.keep_shape else wanted_shape(self.config, teacher.config, start_shape(context))
        inputs = timings(self.config, teacher.config) | ({"allocation": kept_units(wanted)} if wanted else {})
        training = prepared_training(self.name, self.config, teacher, audio, workdir, context, **inputs)
        target = Target(teacher.num_layers, self.config.num_clusters)
        beginning = context.start.model if context.start else teacher
        prediction = MaskedPrediction(trainable_copy(beginning, self.config.dropout), [target], self.config)
        pruning = Pruning(self.config, training, prediction, teacher, wanted)
        models = models_to_make(self.name, self.config)
        pruning.fit_head(next(iter(models)))
        for model, config in models.items():
            pruning.make(model, config, budget_for(config, teacher.config))
        return {model: upstream.eval() for model, upstream in pruning.models.items()}

    def target_sparsities(self) -> Mapping[str, float | None]:
        """Return the target of each size; see `bench.contracts.Compressor`."""
        return target_sparsities(self.name, self.config) or super().target_sparsities()


class Pruning:
    """One compression. It resumes an interrupted one in the same folder."""

    def __init__(
        self,
        config: PruneOnlyConfig,
        training: Training,
        prediction: MaskedPrediction,
        teacher: UpstreamModel,
        wanted: UpstreamConfig | None,
    ) -> None:
        """Prepare the compression.

        Args:
            config: settings of the method.
            training: runs the stages. Its folder stores what a resumed compression needs.
            prediction: holds the model. Each pruning step replaces it.
            teacher: the whole model, whose own units are predicted.
            wanted: shape whose widths the result copies, if any.
        """
        self.config = config
        self.training = training
        self.prediction = prediction
        self.teacher = teacher
        self.wanted = wanted
        self.models: dict[str, UpstreamModel] = {}
        """Finished models by name."""
        self.num_steps = 0
        """Number of finished steps of pruning and recovery."""

    def fit_head(self, model: str) -> None:
        """Fit the mask embedding and the predictor if needed. The history is that of ``model``."""
        if self.config.needs_head:
            fitting = HeadFitting(self.prediction)
            training_of(self.training, model).run("head", self.config.head, fitting, self._batches)
            fitting.release()

    def make(self, model: str, config: PruneOnlyConfig, budget: Budget) -> None:
        """Prune and recover the current model step by step, and store the result in `models`.

        Args:
            model: name of the result.
            config: settings with this size's share of the recovery.
            budget: budget of the result.
        """
        training = training_of(self.training, model)
        beginning = self._shape
        for step in range(1, config.num_steps + 1):
            self.num_steps += 1
            if not config.keep_shape:
                share = step / config.num_steps
                self._prune(budget.part(share, budget.reached(beginning)), self.num_steps, share, beginning)
            if config.recovery is not None:
                stage = config.recovery.part(step, config.num_steps)
                training.run(f"recovery-{self.num_steps}", stage, self.prediction, self._batches)
        report_size(self._shape, budget, config)
        self.models[model] = self.prediction.upstream

    def _prune(self, budget: Budget, step: int, share: float, beginning: UpstreamConfig) -> None:
        masks = self._masks(step, lambda scores: self._kept(scores, budget, share, beginning))
        self.prediction.upstream = pruned_model(self.prediction.upstream, masks, self.config)

    def _kept(self, scores: Scores, budget: Budget, share: float, beginning: UpstreamConfig) -> dict[str, Tensor]:
        if self.wanted is not None:
            return copied_masks(scores, self.wanted, share, beginning)
        if self.config.allocation == "global":
            return global_masks(scores, self._shape, budget, self.config, self.config.importance)
        return uniform_masks(scores, self._shape, budget, self.config)

    def _batches(self, seed: int) -> UnitBatches:
        return UnitBatches(self.training.files, [self._units], self._shape, self.config, seed)

    @cached_property
    def _units(self) -> FrameUnits:
        from compressors.units.clusters import cluster_units  # Imported here: scikit-learn takes seconds to import.

        if self.config.unit_source == "own":
            training = self.training
            workers = self.config.num_workers
            return teacher_units(self.teacher, training.files, self.config, workers, training.context)
        with first_goes_first():
            return cluster_units(
                MfccFeatures(self._shape, self.config.num_workers),
                self.config.num_clusters,
                self.training.files,
                config=self._shape,
                share=self.config.kmeans_share,
                seed=self._seed("units"),
                folder=self.training.workdir / "units",
            )

    def _masks(self, step: int, kept: Callable[[Scores], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return what step ``step`` keeps by its scores. The first decision is stored."""
        if self.config.importance == "taylor":
            _ = self._units  # Before the block in which only the first of several processes works.
        with first_goes_first():
            masks = kept_tensors(
                self.training.workdir / f"masks-{step}.safetensors",
                lambda: kept(self._scores(step)),
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
        if self.config.importance == "clusters":
            return cluster_scores(self.prediction.upstream, self.config.units)
        if self.config.importance == "random":
            return random_scores(self._shape, self.config.units, seed)
        return magnitude_scores(self.prediction.upstream, self.config.units, self.config.importance)

    def _seed(self, *purpose: object) -> int:
        return derived_seed(self.training.context.seed, *purpose)

    @property
    def _shape(self) -> UpstreamConfig:
        return self.prediction.upstream.config
