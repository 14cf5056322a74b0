"""The objective that ``objective`` names: hidden states, units, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from bench.contracts import Context, WarmStart
from bench.upstream import UpstreamModel
from compressors.objectives.distillation import Distillation
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.objectives.state_predictors import projections_between
from compressors.objectives.unit_prediction import UnitPrediction
from compressors.settings import StudentObjectiveConfig
from compressors.students.copies import trainable_copy
from compressors.training.objective import Objective


class DistillationAndPrediction(Objective):
    """Both objectives for one student.

    Distillation uses unmasked audio: with masked input, the student's states would no longer correspond to the
    teacher's. Unit prediction therefore needs a second pass of the transformer.
    """

    def __init__(self, distillation: Distillation, prediction: UnitPrediction, masked_weight: float) -> None:
        """Combine two objectives.

        Args:
            distillation: of the student.
            prediction: of the same student.
            masked_weight: weight of the prediction's loss.
        """
        super().__init__()
        self.distillation = distillation
        self.prediction = prediction
        self.masked_weight = masked_weight

    @property
    def student(self) -> UpstreamModel:
        """The model that learns."""
        return self.distillation.student

    def forward(self, waveforms: Tensor, labels: Tensor, update: int) -> dict[str, Tensor | float]:  # noqa: ARG002 - the loss never changes
        """Compute the weighted sum of both losses, and all their parts.

        Args:
            waveforms: (batch, samples).
            labels: units (batch, 1, frames).
            update: unused.
        """
        features, _ = self.student.extract(waveforms)
        states = self.student.distillation_states_of(features)
        hidden = self.distillation.of_states(states, waveforms)
        masked = self.prediction.of_features(features, labels)
        loss = hidden["loss"] + self.masked_weight * masked["loss"]
        return {**hidden, **masked, "loss": loss, "hidden_loss": hidden["loss"]}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the student with its projections, and the unit predictor, as the two objectives do."""
        hidden = self.distillation.parameter_groups(learning_rate)
        return [*hidden, self.prediction.predictor_group(learning_rate)]

    def with_student(self, student: UpstreamModel) -> DistillationAndPrediction:
        """Return the same objective for another student of the same width. It shares all other weights."""
        distillation, prediction = self.distillation.with_student(student), self.prediction.with_student(student)
        return DistillationAndPrediction(distillation, prediction, self.masked_weight)

    def save(self, folder: Path) -> None:
        """Write the projections and the unit predictor into a folder."""
        self.distillation.save(folder)
        self.prediction.save(folder)


StudentObjective = Distillation | UnitPrediction | DistillationAndPrediction
"""An objective with the model that learns as ``student``."""


def student_objective(
    student: UpstreamModel,
    teacher: UpstreamModel,
    config: StudentObjectiveConfig,
    device: str,
    start: WarmStart | None = None,
) -> StudentObjective:
    """Return the objective that a configuration names, for a student of the teacher's width.

    Args:
        student: the model that learns.
        teacher: what it learns from.
        config: names the objective.
        device: where the teacher runs.
        start: the warm start that the student is a copy of. Its projections are kept. Unit predictors start from
            scratch, as other audio has other units.
    """
    if config.objective == "masked":
        return UnitPrediction(student, config)
    projections = projections_between(student, teacher, config)
    if start is not None:
        projections.load_from_start(start)
    distillation = Distillation(student, FrozenTeacher(teacher, device), projections, config)
    if config.objective == "hidden":
        return distillation
    return DistillationAndPrediction(distillation, UnitPrediction(student, config), config.masked_weight)


def objective_from_start(
    teacher: UpstreamModel, config: StudentObjectiveConfig, context: Context
) -> StudentObjective | None:
    """Return the objective of a copy of the model of a warm start; None if there is no warm start."""
    if context.start is None:
        return None
    student = trainable_copy(context.start.model, config.dropout)
    return student_objective(student, teacher, config, context.device, context.start)
