"""DPHuBERT: joint distillation and structured pruning, then distillation of the pruned model.

Source: Peng et al., DPHuBERT: Joint Distillation and Pruning of Self-Supervised Speech Models (arXiv 2305.17651),
and the recipe of its reference implementation. The loss is `compressors.objectives.hidden_state_loss`; the stage that
prunes adds the size to it in `compressors.dphubert.joint_stage`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

import torch

from bench.contracts import AudioSource, Context, Settings
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from compressors.dphubert.config import MINI, PAPER, SMOKE, DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.objectives.distilled_layers import require_layers
from compressors.objectives.layer_clusters import with_clustered_layers
from compressors.objectives.student_objective import objective_from_start
from compressors.size.pruning import require_reachable
from compressors.size.several_sizes import models_to_make, numbered, target_sparsities, training_of
from compressors.size.warm_start import require_start, start_shape
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.seeds import derived_seed
from compressors.units.teacher_units import require_units, unit_batches

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
        prepared = prepared_training(self.name, self.config, teacher, audio, workdir, context)
        recipe = with_clustered_layers(self.config, teacher, prepared) if self.config.learns_states else self.config
        batches = unit_batches(prepared, teacher, self.config) if self.config.predicts_units else None
        objective = objective_from_start(teacher, recipe, context)
        models = {}
        for number, (model, config) in enumerate(models_to_make(self.name, recipe).items(), start=1):
            training = training_of(prepared, model)
            if objective is None or not config.keep_shape:
                if number > 1:
                    # New gates are random. A resumed call gets here without having trained the earlier sizes.
                    torch.manual_seed(derived_seed(context.seed, "gates", number))
                joint = JointDistillationPruning(teacher, config, context.device, objective)
                training.run(numbered("joint", number), config.joint, joint, batches)
                objective = joint.pruned()
            training.run(numbered("final", number), config.final, objective, batches)
            training.keep(objective)
            models[model] = objective.student.eval()
        return models

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Settings:
        """Return the settings for a warm start; see `bench.contracts.Compressor`."""
        return self.config.warm_started(start, teacher, chosen)

    def target_sparsities(self) -> Mapping[str, float | None]:
        """Return the target of each size; see `bench.contracts.Compressor`."""
        return target_sparsities(self.name, self.config) or super().target_sparsities()
