"""DPHuBERT: joint distillation and structured pruning, then distillation of the pruned model.

Source: Peng et al., DPHuBERT: Joint Distillation and Pruning of Self-Supervised Speech Models (arXiv 2305.17651),
and the recipe of its reference implementation. The loss is `compressors.objectives.hidden_state_loss`; the stage that
prunes adds the size to it in `compressors.dphubert.joint_stage`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.utils.data import Dataset

from bench.contracts import AudioSource, Context, Settings, TaskLoss
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from compressors.dphubert.config import MINI, PAPER, SMOKE, DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning, with_task
from compressors.objectives.distilled_layers import require_layers
from compressors.objectives.layer_clusters import with_clustered_layers
from compressors.objectives.student_objective import objective_from_start
from compressors.size.budget import timings
from compressors.size.pruning import require_reachable
from compressors.size.several_sizes import models_to_make, numbered, target_sparsities, training_of
from compressors.size.warm_start import require_start, start_shape
from compressors.training.crops import CropBatches
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.seeds import derived_seed
from compressors.training.task_batches import TaskBatches, packed
from compressors.units.teacher_units import require_units, unit_batches

if TYPE_CHECKING:
    from compressors.training.loop import Training

Batches = Callable[[int], Dataset[Any]]
"""Creates a stage's endless dataset from its seed."""

logger = logging.getLogger(__name__)


class DPHuBERT(TrainingCompressor):
    """The compressor ``dphubert``."""

    name: ClassVar[str] = "dphubert"
    summary: ClassVar[str] = "joint distillation and structured pruning, then distillation (arXiv 2305.17651)"
    config_type: ClassVar[type[DPHuBERTConfig]] = DPHuBERTConfig
    presets: ClassVar[Mapping[str, DPHuBERTConfig]] = {"paper": PAPER, "mini": MINI, "smoke": SMOKE}

    config: DPHuBERTConfig

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work.

        Raises:
            UserError: the teacher is not a speech model, a layer or the budget is out of reach, the model of ``--from``
                is not part of the teacher, or the audio is unusable.
        """
        require_trainable(teacher, self.config, context)
        self._require_fixed_shapes(context)
        require_layers(self.config, teacher.num_layers)
        require_start(teacher, self.config, context)
        if not self.config.keep_shape:
            require_reachable(teacher.config, self.config, start_shape(context))
        if len(self.config.sizes) > 1 and self.config.schedule == "fixed":
            logger.info("schedule=fixed suits one long stage; with several sizes, schedule=auto fits each of theirs")
        if self.config.task_loss:
            task = required_task(self.config.task_loss, context)
            packed(task.utterances, self._task_seconds, teacher.config.window)
        files = require_audio(audio, self.config, teacher)
        if self.config.predicts_units:
            require_units(teacher, files, self.config)

    def check_ahead(self, first_teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work for a teacher of any size; see `bench.contracts.Compressor`."""
        self._require_fixed_shapes(context)
        super().check_ahead(first_teacher, audio, context)

    def _require_fixed_shapes(self, context: Context) -> None:
        if self.config.shrink and context.devices > 1:
            raise UserError(
                "Expected shrink=false with several devices, which average gradients of fixed shapes. Found "
                f"shrink=true and --devices {context.devices}. Leave one of them out."
            )

    def train(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Run both stages for each size, or the rest of them; see `TrainingCompressor`."""
        task = required_task(self.config.task_loss, context) if self.config.task_loss else None
        inputs = timings(self.config, teacher.config) | ({"task": dict(task.identity)} if task else {})
        prepared = prepared_training(self.name, self.config, teacher, audio, workdir, context, **inputs)
        recipe = with_clustered_layers(self.config, teacher, prepared) if self.config.learns_states else self.config
        batches: Batches | None = unit_batches(prepared, teacher, self.config) if self.config.predicts_units else None
        if task:
            batches = self._with_task(batches or crop_batches(prepared), task, teacher.config.window)
        beginning = objective_from_start(teacher, recipe, context)
        objective = with_task(beginning, recipe, task) if beginning else None
        models = {}
        for number, (model, config) in enumerate(models_to_make(self.name, recipe).items(), start=1):
            training = training_of(prepared, model)
            if objective is None or not config.keep_shape:
                if number > 1:
                    # New gates are random. A resumed call gets here without having trained the earlier sizes.
                    torch.manual_seed(derived_seed(context.seed, "gates", number))
                joint = JointDistillationPruning(teacher, config, context.device, objective, task)
                training.run(numbered("joint", number), config.joint, joint, batches)
                objective = joint.pruned()
            training.run(numbered("final", number), config.final, objective, batches)
            training.keep(objective)
            models[model] = objective.student.eval()
        return models

    @property
    def _task_seconds(self) -> float:
        return self.config.task_seconds_per_batch or self.config.seconds_per_batch

    def _with_task(self, batches: Batches, task: TaskLoss, window: int) -> Batches:
        return lambda seed: TaskBatches(batches(seed), task, self._task_seconds, window, seed)

    def tasks_learned(self) -> tuple[str, ...]:
        """Return the task whose loss is added; see `bench.contracts.Compressor`."""
        return (self.config.task_loss,) if self.config.task_loss else ()

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Settings:
        """Return the settings for a warm start; see `bench.contracts.Compressor`."""
        return self.config.warm_started(start, teacher, chosen)

    def target_sparsities(self) -> Mapping[str, float | None]:
        """Return the target of each size; see `bench.contracts.Compressor`."""
        return target_sparsities(self.name, self.config) or super().target_sparsities()


def crop_batches(training: Training) -> Batches:
    """Return a function from a stage's seed to crops of the training audio."""
    return lambda seed: CropBatches(training.files, training.config, seed)


def required_task(name: str, context: Context) -> TaskLoss:
    """Return the loss of a task.

    Raises:
        UserError: the caller of the compressor does not provide it.
    """
    if name not in context.task_losses:
        raise UserError(
            f"Expected the labelled audio of task_loss={name} in Context.task_losses. Found none. Run the compressor "
            "by bench, or pass the loss that the task offers."
        )
    return context.task_losses[name]
