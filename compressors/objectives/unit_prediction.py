"""What a student may learn in place of its teacher's hidden states, or beside them: units at frames that are masked.

Source: DiceHuBERT (arXiv 2507.02911), whose objective is HuBERT's (arXiv 2106.07447).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from bench.contracts import WarmStart
from bench.upstream import UpstreamModel
from compressors.objectives.distillation import (
    Distillation,
    DistillationConfig,
    FrozenTeacher,
    Projections,
    go_on_from,
    layer_groups,
)
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.training.stages import Objective
from compressors.units.teacher_units import TeacherUnitsConfig


class StudentObjectiveConfig(DistillationConfig, TeacherUnitsConfig):
    """What the student learns from its teacher; a compressor's configuration inherits it."""

    objective: Literal["hidden", "masked", "both"] = "hidden"
    """``hidden``: the teacher's hidden states, as in DPHuBERT. ``masked``: the teacher's units (``cluster_layer``,
    ``num_clusters``) at frames that are masked, as in DiceHuBERT. ``both``: the hidden states of audio heard whole, and
    in a second pass of the transformer the units of what is masked."""
    masked_weight: float = Field(default=0.1, ge=0)
    """Weight of masked prediction beside the loss of hidden states (``both``): a cross-entropy starts at the logarithm
    of ``num_clusters``, about 5 or 6, where L1 and cosine together span less than 1."""

    predictor_learning_rate_scale: float = Field(default=10.0, gt=0)
    """Learning rate of the mask embedding and of what predicts units, as a multiple of the stage's: they begin at
    random, on a student that knows already what its teacher does."""

    @property
    def predicts_units(self) -> bool:
        """Whether the teacher's units are needed."""
        return self.objective != "hidden"

    def num_passes(self, extractor_share: float) -> tuple[int, float]:
        """Count the forward passes of a training step.

        Args:
            extractor_share: of the extractor in the MACs of a pass.

        Returns:
            The teacher's, of which units cost one, as if they were made anew for all that is heard; and the student's,
            whose extractor hears a batch once.
        """
        return (2, 2 - extractor_share) if self.objective == "both" else (1, 1)


class UnitPrediction(MaskedPrediction):
    """The student predicts units from its last hidden state, with the optimiser of DPHuBERT's recipe."""

    def __init__(self, student: UpstreamModel, units: StudentObjectiveConfig) -> None:
        super().__init__(student, [Target(student.num_layers, units.num_clusters)], units)
        self.units = units

    @property
    def student(self) -> UpstreamModel:
        """The model that learns."""
        return self.upstream

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the student and what predicts units, without weight decay as in DPHuBERT's recipe."""
        student = {"params": self.student.parameters(), "lr": learning_rate, "weight_decay": 0.0}
        return [student, self.predictor_group(learning_rate)]

    def predictor_group(self, learning_rate: float) -> dict[str, Any]:
        """Return what predicts units, and the mask embedding; ``learning_rate`` is the student's."""
        own = [self.mask_embedding, *self.predictors.parameters()]
        scaled = learning_rate * self.units.predictor_learning_rate_scale
        return {"params": own, "lr": scaled, "weight_decay": 0.0}

    def of(self, student: UpstreamModel) -> UnitPrediction:
        """Return the same objective for another student of the same width; all else that learns is shared."""
        other = UnitPrediction(student, self.units)
        other.mask_embedding, other.predictors = self.mask_embedding, self.predictors
        return other


class DistillationAndPrediction(Objective):
    """Both objectives for one student.

    Hidden states are those of audio heard whole, which is what the model will hear; behind a mask, the teacher's state
    0 would be out of reach, and the others those of another input. Hence the second pass of the transformer.
    """

    def __init__(self, distillation: Distillation, prediction: UnitPrediction, masked_weight: float) -> None:
        """Add them up.

        Args:
            distillation: of the student.
            prediction: of the same one.
            masked_weight: of its loss.
        """
        super().__init__()
        self.distillation = distillation
        self.prediction = prediction
        self.masked_weight = masked_weight

    @property
    def student(self) -> UpstreamModel:
        """The model that learns."""
        return self.distillation.student

    def forward(self, waveforms: Tensor, labels: Tensor, update: int) -> dict[str, Tensor | float]:  # noqa: ARG002 - the same loss all along
        """Compute the weighted sum of (batch, samples) and the units (batch, 1, frames), and all parts of it."""
        features, frame_lengths = self.student.extract(waveforms)
        states = self.student.distillation_states_of(features, frame_lengths)
        hidden = self.distillation.of_states(states, waveforms)
        masked = self.prediction.of_features(features, frame_lengths, labels)
        loss = hidden["loss"] + self.masked_weight * masked["loss"]
        return {**hidden, **masked, "loss": loss, "hidden_loss": hidden["loss"]}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the student and its projections, and what predicts units, as in the two objectives."""
        hidden = self.distillation.parameter_groups(learning_rate)
        return [*hidden, self.prediction.predictor_group(learning_rate)]

    def of(self, student: UpstreamModel) -> DistillationAndPrediction:
        """Return the same objective for another student of the same width; all else that learns is shared."""
        return DistillationAndPrediction(self.distillation.of(student), self.prediction.of(student), self.masked_weight)

    def save(self, folder: Path) -> None:
        """Write what predicts states and units into a folder beside the model."""
        self.distillation.save(folder)
        self.prediction.save(folder)


StudentObjective = Distillation | UnitPrediction | DistillationAndPrediction
"""What a student learns; the student is its ``student``."""


def student_objective(
    student: UpstreamModel,
    teacher: UpstreamModel,
    config: StudentObjectiveConfig,
    device: str,
    start: WarmStart | None = None,
) -> StudentObjective:
    """Return the objective that a configuration names, for a student of the teacher's width.

    Args:
        student: what learns.
        teacher: what it learns from.
        config: names the objective.
        device: where the teacher is to compute.
        start: what the student is a copy of, if that is no teacher. Its projections go on; units are clustered anew on
            other audio, so that their predictors begin anew.
    """
    if config.objective == "masked":
        return UnitPrediction(student, config)
    projections = Projections(layer_groups(config, teacher.num_layers), student.dim, teacher.dim)
    if start is not None:
        go_on_from(start, projections)
    distillation = Distillation(student, FrozenTeacher(teacher, device), projections, config)
    if config.objective == "hidden":
        return distillation
    return DistillationAndPrediction(distillation, UnitPrediction(student, config), config.masked_weight)
