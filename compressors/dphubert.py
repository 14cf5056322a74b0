"""DPHuBERT: joint distillation and structured pruning, then distillation of the pruned model.

Source: Peng et al., DPHuBERT: Joint Distillation and Pruning of Self-Supervised Speech Models (arXiv 2305.17651),
and the recipe of its reference implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import Self

from bench.contracts import AudioSource, Context
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.gates import Gates
from bench.upstream.initialisation import uninitialised
from bench.upstream.pruning import pruned_config
from compressors.budget import budget_for
from compressors.distillation import (
    Distillation,
    DistillationConfig,
    FrozenTeacher,
    Projections,
    distillation_from_start,
    layer_groups,
    trainable_copy,
)
from compressors.preparation import prepared_training, require_audio, require_trainable
from compressors.pruning import pruned_model, report_size, require_reachable
from compressors.shrinking import SHRINK_UPDATES, carry_over, open_units, without_closed
from compressors.sizes import models_to_make, numbered, target_sparsities, training_of
from compressors.sparsity import (
    Multipliers,
    SparsityConfig,
    expected_sparsity,
    final_masks,
    target_sparsity,
)
from compressors.stages import Objective, StageConfig
from compressors.warm_start import WarmStartConfig, require_start, start_shape


class DPHuBERTConfig(WarmStartConfig, DistillationConfig, SparsityConfig):
    """DPHuBERT's two stages."""

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

    def stages(self) -> dict[str, StageConfig]:
        """Return the stages that will be run."""
        return {name: stage for name, stage in super().stages().items() if name != "joint" or not self.keep_shape}

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all stages: gated, the student costs what it did before; pruned, its share."""
        heard = gated = self.macs_a_second(teacher)
        macs = 0
        for config in self.each_size():
            budget = budget_for(config, teacher)
            pruned = heard * budget.wanted / budget.original
            macs += 0 if config.keep_shape else config.stage_macs(config.joint, heard, gated)
            macs += config.stage_macs(config.final, heard, pruned)
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
        "log_updates": 2,
    }
)


class DPHuBERT:
    """The compressor ``dphubert``."""

    name: ClassVar[str] = "dphubert"
    summary: ClassVar[str] = "joint distillation and structured pruning, then distillation (arXiv 2305.17651)"
    config_type: ClassVar[type[DPHuBERTConfig]] = DPHuBERTConfig
    presets: ClassVar[Mapping[str, DPHuBERTConfig]] = {"paper": PAPER, "mini": MINI, "smoke": SMOKE}

    def __init__(self, config: DPHuBERTConfig) -> None:
        self.config = config

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
        require_audio(audio, self.config, teacher)

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Run both stages for each size, or what is left of them; see `bench.contracts.Compressor`."""
        prepared = prepared_training(self.name, self.config, teacher, audio, workdir, context)
        distillation = distillation_from_start(
            teacher, self.config, context, lambda student: new_projections(student, teacher, self.config)
        )
        models = {}
        for number, (model, config) in enumerate(models_to_make(self.name, self.config).items(), start=1):
            training = training_of(prepared, model)
            if distillation is None or not config.keep_shape:
                joint = JointDistillationPruning(teacher, config, context.device, distillation)
                training.run(numbered("joint", number), config.joint, joint)
                distillation = joint.pruned()
            training.run(numbered("final", number), config.final, distillation)
            distillation.projections.save(distillation.projections.path_in(training.history.parent))
            models[model] = distillation.student.eval()
        return models

    def target_sparsities(self) -> Mapping[str, float]:
        """Tell what each of several models aims at; see `bench.contracts.SeveralSizes`."""
        return target_sparsities(self.name, self.config)


class JointDistillationPruning(Objective):
    """Stage 1: distillation into a gated copy of the teacher, held to a rising sparsity."""

    def __init__(
        self,
        teacher: UpstreamModel,
        config: DPHuBERTConfig,
        device: str = "cpu",
        start: Distillation | None = None,
    ) -> None:
        """Prepare the stage.

        Args:
            teacher: what the student learns from.
            config: of one size.
            device: where the teacher is to compute.
            start: whose student, as it is now, is copied in place of the teacher, and whose projections go on.
        """
        super().__init__()
        self.config = config
        self.budget = budget_for(config, teacher.config)
        student = trainable_copy(start.student if start else teacher, config.dropout)
        self.initial_sparsity = self.budget.reached(student.config)
        self.distillation = Distillation(
            student,
            start.teacher if start else FrozenTeacher(teacher, device),
            start.projections if start else new_projections(student, teacher, config),
            config,
        )
        self.gates = Gates(student, config.units)
        self.gates.attach()
        self.multipliers = Multipliers(config.initial_quadratic_multiplier)

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
        """Compute the distillation loss and the sparsity regulariser of (batch, samples)."""
        distillation = self.distillation(waveforms, update)
        ramp = self.config.sparsity_warmup_updates
        target = target_sparsity(self.budget.sparsity, update, ramp, self.initial_sparsity)
        expected = expected_sparsity(self.gates, self.budget, self.config)
        regulariser = self.multipliers(expected, target)
        return {
            **distillation,
            "loss": distillation["loss"] + regulariser,
            "distillation": distillation["loss"],
            "regulariser": regulariser,
            "expected_sparsity": expected,
            "target_sparsity": target,
            "lambda1": self.multipliers.linear,
            "lambda2": self.multipliers.quadratic,
        }

    def before_update(self, update: int, optimizer: Optimizer) -> None:
        """Let what has closed for good leave the student, where ``shrink`` says so."""
        if not self.config.shrink or update % SHRINK_UPDATES:
            return
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
            self.distillation.student = smaller.train(student.training)
            self.gates = Gates(smaller, self.config.units).to(student.layer_norm.weight).train(self.gates.training)
            self.gates.attach()

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return weights, gates and multipliers; gradient ascent on the last."""
        gates = {"params": self.gates.parameters(), "lr": self.config.gate_learning_rate}
        multipliers = {"params": self.multipliers.parameters(), "lr": self.config.multiplier_learning_rate}
        return [
            *self.distillation.parameter_groups(learning_rate),
            gates | {"weight_decay": 0.0},
            multipliers | {"weight_decay": 0.0, "maximize": True},
        ]

    def pruned(self) -> Distillation:
        """Return stage 2's objective: the pruned student and the projections as they are."""
        distillation = self.distillation
        masks = final_masks(self.gates, distillation.teacher.model.config, self.config)
        student = pruned_model(distillation.student, masks, self.config)
        hint = ", or threshold=reference misses it"
        report_size(student.config, self.budget, self.config, hint=hint)
        return Distillation(student, distillation.teacher, distillation.projections, distillation.config)


def new_projections(student: UpstreamModel, teacher: UpstreamModel, config: DistillationConfig) -> Projections:
    """Return what predicts the teacher's states from a student that has not learnt yet."""
    return Projections(layer_groups(config, teacher.num_layers), student.dim, teacher.dim)
