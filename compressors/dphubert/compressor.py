"""DPHuBERT: joint distillation and structured pruning, then distillation of the pruned model.

Source: Peng et al., DPHuBERT: Joint Distillation and Pruning of Self-Supervised Speech Models (arXiv 2305.17651),
and the recipe of its reference implementation.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import Self

from bench.contracts import AudioSource, Context, Settings
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.gates import Gates
from bench.upstream.initialisation import uninitialised
from bench.upstream.pruning import pruned_config
from compressors.dphubert.schedules import schedule_of
from compressors.dphubert.shrinking import SHRINK_UPDATES, carry_over, open_units, without_closed
from compressors.dphubert.sparsity import FIXED_SCHEDULE_FIELDS, SparsityConfig, expected_sparsity, final_masks
from compressors.objectives.distillation import layer_groups, trainable_copy
from compressors.objectives.unit_prediction import StudentObjective, StudentObjectiveConfig, student_objective
from compressors.size.budget import budget_for
from compressors.size.pruning import pruned_model, report_size, require_reachable
from compressors.size.several_sizes import models_to_make, numbered, target_sparsities, training_of
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.seeds import derived_seed
from compressors.training.stages import Objective, StageConfig
from compressors.training.warm_start import WarmStartConfig, require_start, start_shape
from compressors.units.teacher_units import require_units, unit_batches

logger = logging.getLogger(__name__)


class DPHuBERTConfig(WarmStartConfig, StudentObjectiveConfig, SparsityConfig):
    """DPHuBERT's two stages, and what both learn."""

    joint: StageConfig
    """Stage 1: the student learns from the teacher while its gates close."""
    final: StageConfig
    """Stage 2: the pruned student learns from the teacher."""

    def with_num_updates(self, num_updates: int) -> Self:
        """Stretch or shorten the stages, and the ramp of the sparsity with them."""
        return self._with_ramp(super().with_num_updates(num_updates))

    def each_size(self) -> list[Self]:
        """Share out the stages, and the ramp of the sparsity with them."""
        return [self._with_ramp(config) for config in super().each_size()]

    def _with_ramp(self, changed: Self) -> Self:
        ramp = round(self.sparsity_warmup_updates * changed.joint.updates / self.joint.updates)
        return changed.model_copy(update={"sparsity_warmup_updates": ramp})

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Self:
        """Go on as in `WarmStartConfig`; rates of a schedule that is made for ten times the updates make way."""
        changed = super().warm_started(start, teacher, chosen)
        if changed.keep_shape or {"schedule", *FIXED_SCHEDULE_FIELDS} & set(chosen):
            return changed
        return changed.model_copy(update={"schedule": "auto"})

    def stages(self) -> dict[str, StageConfig]:
        """Return the stages that will be run."""
        return {name: stage for name, stage in super().stages().items() if name != "joint" or not self.keep_shape}

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all stages: gated, the student costs what it did before; pruned, its share."""
        heard = gated = self.macs_a_second(teacher)
        extractor = self.macs_a_second(teacher.model_copy(update={"layers": ()}))
        teacher_passes, passes = self.num_passes(extractor / heard)
        macs = 0
        for config in self.each_size():
            budget = budget_for(config, teacher)
            pruned = heard * budget.wanted / budget.original
            macs += 0 if config.keep_shape else config.stage_macs(config.joint, teacher_passes * heard, passes * gated)
            macs += config.stage_macs(config.final, teacher_passes * heard, passes * pruned)
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
    seconds_per_batch=160,
    accumulate_batches=4,
    min_duration_s=2.0,
    max_duration_s=15.625,
    drop_longer=True,
    precision="fp16",
    max_gradient_norm=10.0,
    num_workers=4,
)

MINI = DPHuBERTConfig(
    joint=StageConfig(updates=300, warmup_updates=30, learning_rate=1e-3),
    final=StageConfig(updates=150, warmup_updates=15, learning_rate=1e-3),
    gate_learning_rate=0.1,
    initial_quadratic_multiplier=10.0,
    sparsity_warmup_updates=150,
    num_clusters=100,
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
        "joint": StageConfig(updates=8, warmup_updates=2, learning_rate=1e-3),
        "final": StageConfig(updates=4, warmup_updates=1, learning_rate=1e-3),
        "sparsity_warmup_updates": 2,
        "num_clusters": 16,
        "log_updates": 2,
    }
)


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
            UserError: the teacher is no speech model, a layer or budget is out of its reach, the model to start from is
                no part of it, or the audio unusable.
        """
        require_trainable(teacher, self.config, context)
        layer_groups(self.config, teacher.num_layers)
        require_start(teacher, self.config, context)
        if not self.config.keep_shape:
            require_reachable(teacher.config, self.config, start_shape(context))
        if len(self.config.sizes) > 1 and self.config.schedule == "fixed":
            logger.info("several sizes by schedule=fixed, made for one long stage: schedule=auto fits each of theirs")
        files = require_audio(audio, self.config, teacher)
        if self.config.predicts_units:
            require_units(teacher, files, self.config)

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Settings:
        """Return the settings for a warm start; see `bench.contracts.Compressor`."""
        return self.config.warm_started(start, teacher, chosen)

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Run both stages for each size, or what is left of them; see `bench.contracts.Compressor`."""
        prepared = prepared_training(self.name, self.config, teacher, audio, workdir, context)
        batches = unit_batches(prepared, teacher, self.config) if self.config.predicts_units else None
        objective = objective_from_start(teacher, self.config, context)
        models = {}
        for number, (model, config) in enumerate(models_to_make(self.name, self.config).items(), start=1):
            training = training_of(prepared, model)
            if objective is None or not config.keep_shape:
                if number > 1:
                    # New gates are random, and a resumed call comes here without the training before.
                    torch.manual_seed(derived_seed(context.seed, "gates", number))
                joint = JointDistillationPruning(teacher, config, context.device, objective)
                training.run(numbered("joint", number), config.joint, joint, batches)
                objective = joint.pruned()
            training.run(numbered("final", number), config.final, objective, batches)
            objective.save(training.history.parent)
            models[model] = objective.student.eval()
        return models

    def target_sparsities(self) -> Mapping[str, float | None]:
        """Return the target of each size; see `bench.contracts.Compressor`."""
        return target_sparsities(self.name, self.config) or super().target_sparsities()


class JointDistillationPruning(Objective):
    """Stage 1: a gated copy learns from the teacher, held to a rising sparsity."""

    def __init__(
        self,
        teacher: UpstreamModel,
        config: DPHuBERTConfig,
        device: str = "cpu",
        start: StudentObjective | None = None,
    ) -> None:
        """Prepare the stage.

        Args:
            teacher: what the student learns from.
            config: of one size.
            device: where the teacher is to compute.
            start: whose student, as it is now, is copied in place of the teacher, and whose predictors go on.
        """
        super().__init__()
        self.config = config
        self.budget = budget_for(config, teacher.config)
        student = trainable_copy(start.student if start else teacher, config.dropout)
        initial_sparsity = self.budget.reached(student.config)
        self.teacher_shape = teacher.config
        self.distillation: StudentObjective = (
            start.of(student) if start else student_objective(student, teacher, config, device)
        )
        self.gates = Gates(student, config.units)
        self.gates.attach()
        self.multipliers = schedule_of(config, config.joint, self.budget, initial_sparsity)

    def forward(self, *inputs: Any) -> dict[str, Tensor | float]:
        """Compute what the student learns and the sparsity regulariser; the inputs are those of the objective."""
        distillation = self.distillation(*inputs)
        target = self.multipliers.target(inputs[-1])
        expected = expected_sparsity(self.gates, self.budget, self.config)
        regulariser = self.multipliers(expected, target)
        return {
            **distillation,
            "loss": distillation["loss"] + regulariser,
            "distillation": distillation["loss"],
            "regulariser": regulariser,
            "expected_sparsity": expected,
            "target_sparsity": target,
            **self.multipliers.logged(),
        }

    def before_update(self, update: int, optimizer: Optimizer) -> None:
        """Let what has closed for good leave the student, where ``shrink`` says so; adapt the schedule."""
        if self.config.shrink and update % SHRINK_UPDATES == 0:
            self._shrink(optimizer)
        self.multipliers.before_update(update, self.gates)

    def _shrink(self, optimizer: Optimizer) -> None:
        masks = open_units(self.gates)
        if all(mask.all() for mask in masks.values()):
            return
        shape = self.gates.shape
        before = dict(self.named_parameters())
        state = {
            name: without_closed(name, value, masks, shape.head_dim)
            for name, value in self.state_dict().items()
            if isinstance(value, Tensor)
        }
        shrunk = pruned_config(shape, masks, keep_position_bias=self.config.keep_position_bias)
        self.load_state_dict(state | {"_extra_state": shrunk.model_dump_json()})
        carry_over(optimizer, before, dict(self.named_parameters()), masks, shape.head_dim)

    def get_extra_state(self) -> str:
        """Return the student's shape, which shrinking changes."""
        return self.gates.shape.model_dump_json()

    def set_extra_state(self, state: str) -> None:
        """Take a shape, before the weights of that shape are loaded."""
        shape = UpstreamConfig.model_validate_json(state)
        if shape != self.gates.shape:
            student = self.distillation.student
            smaller = uninitialised(shape).to(student.layer_norm.weight)
            self.gates.detach()
            self.distillation = self.distillation.of(smaller.train(student.training))
            self.gates = Gates(smaller, self.config.units).to(student.layer_norm.weight).train(self.gates.training)
            self.gates.attach()

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return weights, gates and multipliers; gradient ascent on the last."""
        gates = {"params": self.gates.parameters(), "lr": self.multipliers.gate_learning_rate}
        return [
            *self.distillation.parameter_groups(learning_rate),
            *(group | {"weight_decay": 0.0} for group in (gates, *self.multipliers.parameter_groups())),
        ]

    def pruned(self) -> StudentObjective:
        """Return stage 2's objective: that of the pruned student, and the predictors as they are."""
        masks = final_masks(self.gates, self.teacher_shape, self.config)
        student = pruned_model(self.distillation.student, masks, self.config)
        hint = ", or threshold=reference misses it"
        report_size(student.config, self.budget, self.config, hint=hint)
        return self.distillation.of(student)


def objective_from_start(teacher: UpstreamModel, config: DPHuBERTConfig, context: Context) -> StudentObjective | None:
    """Return the objective of a copy of `Context.start`; None: there is none."""
    if context.start is None:
        return None
    student = trainable_copy(context.start.model, config.dropout)
    return student_objective(student, teacher, config, context.device, context.start)
