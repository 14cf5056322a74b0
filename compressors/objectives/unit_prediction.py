"""Unit prediction: the student predicts the teacher's units at masked frames.

Source: DiceHuBERT (arXiv 2507.02911), whose objective is HuBERT's (arXiv 2106.07447).
"""

from __future__ import annotations

from typing import Any

from bench.upstream import UpstreamModel
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.settings import StudentObjectiveConfig


class UnitPrediction(MaskedPrediction):
    """The student predicts units from its last hidden state. Its optimiser has the settings of DPHuBERT's recipe."""

    def __init__(self, student: UpstreamModel, units: StudentObjectiveConfig) -> None:
        super().__init__(student, [Target(student.num_layers, units.num_clusters)], units)
        self.units = units

    @property
    def student(self) -> UpstreamModel:
        """The model that learns."""
        return self.upstream

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the student and the unit predictor, without weight decay as in DPHuBERT's recipe."""
        student = {"params": self.student.parameters(), "lr": learning_rate, "weight_decay": 0.0}
        return [student, self.predictor_group(learning_rate)]

    def predictor_group(self, learning_rate: float) -> dict[str, Any]:
        """Return the unit predictor and the mask embedding; ``learning_rate`` is the student's."""
        own = [self.mask_embedding, *self.predictors.parameters()]
        scaled = learning_rate * self.units.predictor_learning_rate_scale
        return {"params": own, "lr": scaled, "weight_decay": 0.0}

    def with_student(self, student: UpstreamModel) -> UnitPrediction:
        """Return the same objective for another student of the same width. It shares all other weights."""
        other = UnitPrediction(student, self.units)
        other.mask_embedding, other.predictors = self.mask_embedding, self.predictors
        return other
