"""SUPERB's head for utterance classification: weighted sum of hidden states, linear, mean over time, linear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from pydantic import PositiveInt

from bench.contracts import Context, Evaluation, Metric, Upstream
from tasks.counts import accuracy_counts
from tasks.head_config import HeadConfig
from tasks.learning_rate import evaluate_head

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


def evaluate_pooled(
    recipe: tuple[str, str],
    config: PooledHeadConfig,
    splits: Mapping[str, pd.DataFrame],
    upstream: Upstream,
    workdir: Path,
    context: Context,
    *,
    balance: str = "label",
) -> Evaluation:
    """Train the head by one of s3prl's recipes, and score its accuracy on the whole dev and test sets.

    Args:
        recipe: module and class in s3prl.
        config: of the head.
        splits: ``train``, ``dev`` and ``test``, see `tasks.s3prl_bridge.Splits`.
        upstream: frozen.
        workdir: for checkpoints.
        context: seed, device and protocol.
        balance: the column whose values share a limited number of utterances.

    Raises:
        UserError: audio turned out to be torn or not finite.
    """
    train = partial(train_pooled, recipe, splits, upstream, balance)
    return evaluate_head(train, config, ACCURACY, upstream, splits, workdir, context)


def train_pooled(
    recipe: tuple[str, str],
    splits: Mapping[str, pd.DataFrame],
    upstream: Upstream,
    balance: str,
    config: PooledHeadConfig,
    workdir: Path,
    context: Context,
    scored: Sequence[str],
) -> Evaluation:
    """Train the head at a learning rate that is known, and score it on the splits named; see `evaluate_pooled`."""
    from tasks.s3prl_bridge import run_recipe

    result = run_recipe(
        recipe,
        config.recipe_arguments(),
        config.limited(dict(splits), by=balance),
        upstream,
        workdir,
        context,
        features=config.features,
        counts=accuracy_counts,
        scored=scored,
    )
    scores = {
        split: {"accuracy": sum(row["correct"] for row in rows) / len(rows)}
        for split, rows in result.predictions_by_split().items()
    }
    return Evaluation(scores=scores, predictions=result.predictions, settings=result.settings)
