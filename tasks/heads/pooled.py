"""Settings of SUPERB's head for utterance classification, which s3prl's recipe builds.

The head: weighted sum of hidden states, linear, mean over time, linear.
"""

from __future__ import annotations

from typing import Any, ClassVar

from bench.contracts import Metric
from bench.contracts.bounds import Width
from tasks.feature_cache.choice import Kind
from tasks.heads.config import MINI, SMOKE, HeadConfig

ACCURACY = Metric("accuracy", higher_is_better=True, primary=True)


class PooledHeadConfig(HeadConfig):
    """Training of SUPERB's utterance-level head. It has no activation, so time means of the features suffice.

    Source: s3prl 0.4.18, ``MeanPoolingLinear``.
    """

    features: ClassVar[Kind] = "means"

    hidden_size: Width = 256
    """Width between the two linear layers."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe."""
        return {**super().recipe_arguments(), "build_downstream": {"hidden_size": self.hidden_size}}

    def head_macs_per_frame(self, dim: int) -> int:
        """Return the MACs of a forward pass over one frame: the linear layer before the mean."""
        return dim * self.hidden_size


MINI_POOLED: dict[str, Any] = {**MINI, "batch_size": 32, "eval_batch_size": 32}
"""Settings that the presets ``mini`` of the tasks with this head share."""
SMOKE_POOLED: dict[str, Any] = {
    **SMOKE,
    "learning_rate": 1e-2,
    "batch_size": 16,
    "eval_batch_size": 16,
    "max_train_utterances": 64,
    "max_eval_utterances": 32,
}
