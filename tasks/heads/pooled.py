"""SUPERB's head for utterance classification: weighted sum of hidden states, linear, mean over time, linear."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from bench.contracts import Metric
from tasks.heads.config import HeadConfig

ACCURACY = Metric("accuracy", higher_is_better=True, primary=True)


class PooledHeadConfig(HeadConfig):
    """Training of SUPERB's utterance-level head. It has no activation, so that time means are all it needs.

    Source: s3prl 0.4.18, ``MeanPoolingLinear``.
    """

    features: ClassVar[Literal["means", "frames"]] = "means"

    hidden_size: PositiveInt = 256
    """Width between the two linear layers."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Spell the configuration in s3prl's words."""
        return {**super().recipe_arguments(), "build_downstream": {"hidden_size": self.hidden_size}}
