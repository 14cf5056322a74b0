"""Students that start as a copy of another model."""

from __future__ import annotations

from bench.upstream import UpstreamModel
from bench.upstream.config import DropoutRates


def trainable_copy(model: UpstreamModel, dropout: DropoutRates) -> UpstreamModel:
    """Return a model of the same shape and weights, with its own dropout rates."""
    student = UpstreamModel(model.config.model_copy(update={"dropout": dropout}))
    student.load_state_dict(model.state_dict())
    return student
