"""distill-only: distillation into a small student of a fixed shape, without pruning.

Source: Chang et al., DistilHuBERT (arXiv 2110.01900), and the recipe of its implementation in s3prl; the deep and the
wide student are those of Ashihara et al., Deep versus Wide (arXiv 2207.06867).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator
from typing_extensions import Self

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import DropoutRates
from compressors.objectives.distillation import Distillation, distillation_from_start
from compressors.objectives.distilled_layers import each_alone, layer_groups, require_layers, thirds
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.objectives.layer_clusters import with_clustered_layers
from compressors.objectives.state_predictors import PredictionHeads, Projections, StatePredictors
from compressors.presets import DISTILHUBERT_TRAINING, MINI_TRAINING
from compressors.settings import DistillationConfig, StageConfig, ThinStudentConfig
from compressors.size.budget import budget_for
from compressors.size.warm_start import require_smaller, shortened
from compressors.students.shapes import shallow_shape, shallow_student, thin_student, thin_student_shape
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.staged_training import StagedTraining

SHALLOW_DEPTHS = {"distilhubert": 2, "wide-shallow": 3}
"""Number of layers of the students with a fixed size."""

BUDGET_FIELDS = frozenset(ThinStudentConfig.model_fields)


class DistillOnlyConfig(StagedTraining, DistillationConfig, ThinStudentConfig):
    """Settings of the student, and of its one stage."""

    student: Literal["deep-thin", "distilhubert", "wide-shallow"] = "deep-thin"
    """``deep-thin`` has the teacher's depth at the width that the budget allows, and learns layer to layer.
    ``distilhubert`` is the teacher's first two layers, without a LayerNorm before the feature projection, and
    ``wide-shallow`` its first three. Their size is fixed, so they take no budget. They predict the teacher's states
    from their last one, with one head for each of ``distillation_layers``: by default the states at one and two thirds
    of the depth and the last."""
    projections: Literal["per_layer", "per_group"] = "per_layer"
    """Linear projections of ``deep-thin``: one per distilled state, or one per group of ``distillation_layers``. A thin
    student's layers have different bases, so one projection cannot fit several of them."""
    distillation: StageConfig
    """The student learns from the teacher."""

    @model_validator(mode="after")
    def _has_a_budget_only_where_it_counts(self) -> Self:
        given = sorted(self.model_fields_set & BUDGET_FIELDS)
        if self.num_layers and given:
            raise ValueError(
                f"student={self.student} has a size of its own, and {', '.join(given)} cannot change it; leave that "
                "out, or choose student=deep-thin"
            )
        return self

    @classmethod
    def as_kept(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in ``projections`` for an old run, in which groups shared a projection."""
        own = {} if settings.get("student", "deep-thin") in SHALLOW_DEPTHS else {"projections": "per_group"}
        return {**own, **settings}

    def fields_without_effect(self) -> Collection[str]:
        """Name the settings of a thin student if the student has a fixed size."""
        own = {*BUDGET_FIELDS} if self.num_layers else set()
        projections = {"projections"} if self.num_layers or self.targets == "groups" else set()
        return {*super().fields_without_effect(), *own, *projections}

    @property
    def num_layers(self) -> int | None:
        """Number of layers of a student with a fixed size, else None."""
        return SHALLOW_DEPTHS.get(self.student)

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Self:
        """Return the recipe for a warm start from a student in its own shape."""
        require_learner(start, teacher, self)
        unfit = sorted(BUDGET_FIELDS & set(chosen))
        if unfit:
            raise UserError(
                f"Expected no size: distill-only keeps the shape of --from. Found {unfit[0]}. Leave it out, or make "
                "the model smaller with dphubert."
            )
        if self.num_layers:
            return shortened(self, self.num_updates(), chosen)
        budget = budget_for(self, teacher)
        require_smaller(start, budget)
        return shortened(self.model_copy(update={"sparsity": budget.reached(start)}), self.num_updates(), chosen)

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all training."""
        student = self.macs_a_second(student_shape(teacher, self))
        return self.stage_macs(self.distillation, self.macs_a_second(teacher), student)


PAPER = DistillOnlyConfig(
    student="distilhubert",
    distillation=StageConfig(updates=200_000, warmup_updates=14_000, learning_rate=2e-4),
    l1_weight=1.0,
    cosine_weight=1.0,
    cosine="log_sigmoid",
    dropout=DropoutRates(projection=0.0, attention=0.1, feed_forward=0.1, hidden=0.1),
    **DISTILHUBERT_TRAINING,
)

PAPER_THIN = PAPER.model_copy(update={"student": "deep-thin"})
"""The deep and thin student of Deep versus Wide, which has DistilHuBERT's recipe."""

MINI = DistillOnlyConfig(distillation=StageConfig(updates=450, warmup_updates=45, learning_rate=1e-3), **MINI_TRAINING)

SMOKE = MINI.model_copy(
    update={"distillation": StageConfig(updates=12, warmup_updates=2, learning_rate=1e-3), "log_updates": 2}
)


class DistillOnly(TrainingCompressor):
    """The compressor ``distill-only``."""

    name: ClassVar[str] = "distill-only"
    summary: ClassVar[str] = "distillation into a small student, without pruning (arXiv 2110.01900, 2207.06867)"
    config_type: ClassVar[type[DistillOnlyConfig]] = DistillOnlyConfig
    presets: ClassVar[Mapping[str, DistillOnlyConfig]] = {
        "paper": PAPER,
        "paper-thin": PAPER_THIN,
        "mini": MINI,
        "smoke": SMOKE,
    }

    config: DistillOnlyConfig

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work.

        Raises:
            UserError: the teacher is not a speech model or too shallow, a layer or the budget is out of reach, or the
                audio is unusable.
        """
        require_trainable(teacher, self.config, context)
        require_layers(self.config, teacher.num_layers)
        if context.start is None:
            student_shape(teacher.config, self.config)
        else:
            require_learner(context.start.model.config, teacher.config, self.config)
        require_audio(audio, self.config, teacher)

    def warm_started(
        self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]
    ) -> DistillOnlyConfig:
        """Return the settings for a warm start; see `bench.contracts.Compressor`."""
        return self.config.warm_started(start, teacher, chosen)

    def train(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Run the stage, or the rest of it; see `TrainingCompressor`."""
        training = prepared_training(self.name, self.config, teacher, audio, workdir, context)
        config = with_clustered_layers(self.config, teacher, training)
        distillation = distillation_from_start(
            teacher, config, context, lambda student: state_predictors(student, teacher, config)
        ) or from_scratch(teacher, config, context)
        training.run("distillation", self.config.distillation, distillation)
        training.keep(distillation)
        return {self.name: distillation.student.eval()}


def from_scratch(teacher: UpstreamModel, config: DistillOnlyConfig, context: Context) -> Distillation:
    """Return the distillation of a new student."""
    student = make_student(teacher, config, context.seed)
    predictors = state_predictors(student, teacher, config)
    return Distillation(student, FrozenTeacher(teacher, context.device), predictors, config)


def require_learner(start: UpstreamConfig, teacher: UpstreamConfig, config: DistillOnlyConfig) -> None:
    """Refuse a warm start from a model that cannot learn in the student's place.

    Raises:
        UserError: the model has another depth than the student, other frames than the teacher, or int8 weights.
    """
    if start.has_int8:
        raise UserError(
            "Expected a trainable model as --from. Found int8 weights. Name the model from before quantisation."
        )
    depth = config.num_layers or teacher.num_layers
    if start.num_layers != depth:
        raise UserError(
            f"Expected a student of {depth} layers as --from, for student={config.student}. Found {start.num_layers}. "
            "Name another, or its --set student=..."
        )
    if (start.stride, start.window) != (teacher.stride, teacher.window):
        raise UserError(
            f"Expected --from to have the teacher's frames, {teacher.window} samples every {teacher.stride}. Found "
            f"{start.window} samples every {start.stride}. Name another."
        )


def student_shape(teacher: UpstreamConfig, config: DistillOnlyConfig) -> UpstreamConfig:
    """Return the shape of the student.

    Raises:
        UserError: the teacher is too shallow, or no width meets the budget.
    """
    if config.num_layers:
        return shallow_shape(teacher, config.num_layers, projection_layer_norm=config.student != "distilhubert")
    return thin_student_shape(teacher, config)


def make_student(teacher: UpstreamModel, config: DistillOnlyConfig, seed: int) -> UpstreamModel:
    """Return the untrained student, in training mode; ``seed`` is the seed of its random weights.

    Raises:
        UserError: the teacher is too shallow, or no width meets the budget.
    """
    shape = student_shape(teacher.config, config)
    if config.num_layers:
        return shallow_student(teacher, shape, config.dropout)
    return thin_student(teacher, shape, config.dropout, seed)


def state_predictors(student: UpstreamModel, teacher: UpstreamModel, config: DistillOnlyConfig) -> StatePredictors:
    """Return the modules that predict the teacher's states from the student's."""
    groups = layer_groups(config, teacher.num_layers)
    if config.targets == "groups":
        kind = PredictionHeads if config.num_layers else Projections
        return kind(groups, student.dim, teacher.dim, means=True)
    named = tuple(layer for group in groups for layer in group)
    if config.num_layers:
        layers = thirds(teacher.num_layers) if config.distillation_layers is None else named
        return PredictionHeads(each_alone(layers), student.dim, teacher.dim)
    return Projections(each_alone(named) if config.projections == "per_layer" else groups, student.dim, teacher.dim)
