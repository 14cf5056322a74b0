"""Emotion recognition on IEMOCAP, by SUPERB's recipe: five folds, each tested on one session."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Annotated, Any, ClassVar

import pandas as pd
from pydantic import Field

from bench.contracts import Context, Evaluation, Metric, Settings, SplitSize, Upstream
from tasks.counts import with_unit_weight
from tasks.iemocap import SESSIONS, IEMOCAPData, read_iemocap, split_for_session
from tasks.pooled_head import PooledHeadConfig, evaluate_pooled
from tasks.splits import split_sizes

Fold = Annotated[int, Field(ge=0, lt=len(SESSIONS))]


class ERConfig(PooledHeadConfig):
    """SUPERB's head: weighted sum of hidden states, linear, mean over time, linear; trained once a fold.

    The preset ``paper`` is the recipe as it is. SUPERB lets the learning rate vary; 1e-4 is s3prl's default, and what
    LightHuBERT's authors list for ER.

    Source: s3prl 0.4.18, ``SuperbER.default_config``; learning rate: github.com/mechanicalsea/lighthubert, issue 2.
    """

    folds: tuple[Fold, ...] = (0, 1, 2, 3, 4)
    """Fold k is tested on session k + 1; the score is the mean over the folds, as SUPERB reports it."""


class ER:
    """Emotion recognition: neutral, happy (and excited), angry, sad."""

    name: ClassVar[str] = "er"
    summary: ClassVar[str] = "Emotion recognition: IEMOCAP, five folds, s3prl's SuperbER (mean-pooled linear head)"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("accuracy", higher_is_better=True, primary=True),)
    config_type: ClassVar[type[Settings]] = ERConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"iemocap": IEMOCAPData}
    presets: ClassVar[dict[str, ERConfig]] = {
        "paper": ERConfig(
            total_steps=30_000,
            learning_rate=1e-4,
            batch_size=4,
            gradient_accumulation_steps=8,
            eval_batch_size=4,
            eval_interval_steps=1_000,
            save_interval_steps=1_000,
            num_workers=6,
        ),
        "mini": ERConfig(
            total_steps=500,
            learning_rate=1e-2,
            batch_size=32,
            eval_batch_size=32,
            eval_interval_steps=50,
            save_interval_steps=50,
            num_workers=0,
        ),
        "smoke": ERConfig(
            total_steps=20,
            learning_rate=1e-2,
            batch_size=16,
            eval_batch_size=16,
            eval_interval_steps=10,
            save_interval_steps=10,
            num_workers=0,
            max_train_utterances=64,
            max_eval_utterances=32,
            folds=(0,),
        ),
    }

    def __init__(self, config: ERConfig) -> None:
        self._config = config

    def read(self, data: IEMOCAPData) -> dict[str, pd.DataFrame]:
        """Read the corpus, with all that can be wrong about it told.

        Returns:
            What `read_iemocap` returns, parted into ``session1`` to ``session5``.

        Raises:
            UserError: what is missing, and where.
        """
        return {f"session{session}": table for session, table in read_iemocap(data).groupby("session")}

    def check(self, data: IEMOCAPData) -> dict[str, SplitSize]:
        """Refuse a corpus that is missing, incomplete, unreadable or not 16 kHz.

        Returns:
            What there is of each session.

        Raises:
            UserError: what is missing, and where.
        """
        return split_sizes(self.read(data))

    def evaluate(self, upstream: Upstream, data: IEMOCAPData, workdir: Path, context: Context) -> Evaluation:
        """Train SUPERB's head for each fold, and average the folds' accuracies.

        The predictions of all folds are kept, each with its fold; the settings have each fold's scores.

        Raises:
            UserError: the corpus is unusable, or audio turned out to be torn or not finite.
        """
        table = pd.concat(self.read(data).values(), ignore_index=True)
        recipe = ("s3prl.problem.common.superb_er", "SuperbER")
        folds: dict[int, Evaluation] = {}
        for fold in self._config.folds:
            splits = split_for_session(data, table, SESSIONS[fold])
            folds[fold] = evaluate_pooled(recipe, self._config, splits, upstream, workdir / f"fold{fold}", context)
        scores = {
            split: {"accuracy": mean(one.scores[split]["accuracy"] for one in folds.values())}
            for split in ("dev", "test")
        }
        predictions: list[dict[str, Any]] = [
            {**row, "fold": fold} for fold, one in folds.items() for row in with_unit_weight(one.predictions)
        ]
        settings = {
            "fold_scores": {
                fold: {split: dict(values) for split, values in one.scores.items()} for fold, one in folds.items()
            },
            "folds": {fold: dict(one.settings) for fold, one in folds.items()},
        }
        return Evaluation(scores=scores, predictions=predictions, settings=settings)
