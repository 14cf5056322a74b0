"""Distillation: the student learns the teacher's hidden states.

The loss is in `compressors.objectives.hidden_state_loss`; the choice of states in `distilled_layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.contracts import Context
from bench.upstream import UpstreamModel
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.objectives.hidden_state_loss import distillation_loss
from compressors.objectives.state_predictors import StatePredictors
from compressors.settings import DistillationConfig
from compressors.students.copies import trainable_copy
from compressors.training.objective import Objective


class Distillation(Objective):
    """The student follows the teacher's hidden states, as ``projections`` predict them from the student's."""

    def __init__(
        self, student: UpstreamModel, teacher: FrozenTeacher, projections: StatePredictors, config: DistillationConfig
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.projections = projections
        self.config = config

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:  # noqa: ARG002 - the loss never changes
        """Compute the distillation loss of (batch, samples)."""
        states, _ = self.student.distillation_states(waveforms)
        return self.of_states(states, waveforms)

    def of_states(self, states: Sequence[Tensor], waveforms: Tensor) -> dict[str, Tensor | float]:
        """Compute the loss from the student's hidden states; see `UpstreamModel.distillation_states`."""
        expected = self.projections.targets(self.teacher.states(waveforms))
        loss = distillation_loss(self.projections(states), expected, self.config)
        return {"loss": loss.total, "l1": loss.l1, "l2": loss.l2, "cosine": loss.cosine}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Put all weights into one group, without weight decay as in DPHuBERT's recipe."""
        return [{"params": self.parameters(), "lr": learning_rate, "weight_decay": 0.0}]

    def with_student(self, student: UpstreamModel) -> Distillation:
        """Return the same objective for another student of the same width. It shares the projections."""
        return Distillation(student, self.teacher, self.projections, self.config)

    def save(self, folder: Path) -> None:
        """Write the projections into a folder."""
        self.projections.save(self.projections.path_in(folder))


def distillation_from_start(
    teacher: UpstreamModel,
    config: DistillationConfig,
    context: Context,
    make: Callable[[UpstreamModel], StatePredictors],
) -> Distillation | None:
    """Return the distillation of a copy of the model of a warm start, with its predictors if they fit.

    Args:
        teacher: what the student learns from.
        config: settings of the distillation.
        context: may have a warm start.
        make: creates predictors for a student.

    Returns:
        None if there is no warm start.
    """
    if context.start is None:
        return None
    student = trainable_copy(context.start.model, config.dropout)
    predictors = make(student)
    predictors.load_from_start(context.start)
    return Distillation(student, FrozenTeacher(teacher, context.device), predictors, config)
