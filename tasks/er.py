"""Emotion recognition on IEMOCAP, by SUPERB's recipe: five folds, each tested on one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, ClassVar

import pandas as pd
from pydantic import Field

from bench.contracts import Context, Evaluation, Metric, Settings, SplitSize, SuperbStandard, Upstream
from tasks.corpora.iemocap import DEV_SHARE, SESSIONS, IEMOCAPData, read_iemocap, split_for_session
from tasks.corpora.labels import check_classes
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.heads.config import PAPER, SUPERB_RATES
from tasks.heads.evaluate_head import Head, evaluate_head
from tasks.heads.pooled import ACCURACY, MINI_POOLED, SMOKE_POOLED, PooledHeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import accuracy_counts, with_unit_weight

Fold = Annotated[int, Field(ge=0, lt=len(SESSIONS))]


class ERConfig(PooledHeadConfig):
    """SUPERB's head: weighted sum of hidden states, linear, mean over time, linear; one training per fold.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate.

    Source: s3prl 0.4.18, ``SuperbER.default_config``.
    """

    folds: tuple[Fold, ...] = (0, 1, 2, 3, 4)
    """Folds to train and test. Fold k tests on session k + 1; the score is the mean over folds, as in SUPERB. Ignored
    for a manifest, which is a single fold with its own split ``test``."""

    def mean_fold(self, sizes: Mapping[str, SplitSize]) -> tuple[Mapping[str, SplitSize], int]:
        """Return the sizes of ``train``, ``dev`` and ``test`` with sessions of equal size, and the number of folds."""
        if "train" in sizes:
            return sizes, 1
        trained = 1 - 1 / len(SESSIONS)
        shares = {"train": (1 - DEV_SHARE) * trained, "dev": DEV_SHARE * trained, "test": 1 - trained}
        num_utterances = sum(size.num_utterances for size in sizes.values())
        duration_s = sum(size.duration_s for size in sizes.values())
        fold = {part: SplitSize(round(share * num_utterances), share * duration_s) for part, share in shares.items()}
        return fold, len(self.folds)


class ER(HeadTask[ERConfig, IEMOCAPData | ManifestData]):
    """Emotion recognition: neutral, happy (and excited), angry, sad."""

    name: ClassVar[str] = "er"
    summary: ClassVar[str] = "Emotion recognition: IEMOCAP, five folds, s3prl's SuperbER (mean-pooled linear head)"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    config_type: ClassVar[type[Settings]] = ERConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"iemocap": IEMOCAPData, "manifest": ManifestData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.common.superb_er", "SuperbER")
    balance: ClassVar[str] = "label"
    counts = staticmethod(accuracy_counts)
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # By fold: IEMOCAP's five sessions, 5,531 utterances of four emotions.
        total_steps=30_000,
        num_test_utterances={"0": 1_085, "1": 1_023, "2": 1_151, "3": 1_031, "4": 1_241},
    )
    presets: ClassVar[dict[str, ERConfig]] = {
        "paper": ERConfig(
            **PAPER,
            total_steps=30_000,
            learning_rate="auto",
            learning_rates=SUPERB_RATES,
            batch_size=4,
            gradient_accumulation_steps=8,
            eval_batch_size=4,
            eval_interval_steps=1_000,
            save_interval_steps=1_000,
        ),
        "mini": ERConfig(
            **MINI_POOLED,
            total_steps=500,
            learning_rate=1e-2,
            eval_interval_steps=50,
            save_interval_steps=50,
        ),
        "smoke": ERConfig(
            **SMOKE_POOLED,
            folds=(0,),
        ),
    }

    def read(self, data: IEMOCAPData | ManifestData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``session1`` to ``session5``, or ``train``, ``dev`` and ``test`` for a manifest, with the emotion
            class as label.

        Raises:
            UserError: something is missing or contradictory.
        """
        if isinstance(data, ManifestData):
            own = read_own_data(data, ("emotion",))
            check_classes(own, "emotion", data.manifest)
            return {split: table.assign(label=table["emotion"]) for split, table in own.items()}
        sessions = {f"session{session}": table for session, table in read_iemocap(data).groupby("session")}
        # Find an unreadable split of the last fold before training the first.
        for fold in self._config.folds:
            split_for_session(data, pd.concat(sessions.values(), ignore_index=True), SESSIONS[fold])
        return sessions

    def evaluate(
        self, upstream: Upstream, data: IEMOCAPData | ManifestData, workdir: Path, context: Context
    ) -> Evaluation:
        """Train one head per fold and average the accuracies. A manifest is a single fold.

        Each prediction names its fold, and the settings hold the scores of each fold.

        Raises:
            UserError: the corpus is unusable, or an audio file is damaged or not finite.
        """
        if isinstance(data, ManifestData):
            return super().evaluate(upstream, data, workdir, context)
        corpus = self.checked(data)
        table = pd.concat(corpus.values(), ignore_index=True)
        train = partial(self._train_folds, upstream, data, table)
        together = partial(self._train_folds_together, upstream, data, table)
        return evaluate_head(train, together, self._config, ACCURACY, upstream, corpus, workdir, context)

    def _train_folds(
        self,
        upstream: Upstream,
        data: IEMOCAPData,
        table: pd.DataFrame,
        config: ERConfig,
        workdir: Path,
        context: Context,
        scored: Sequence[str],
    ) -> Evaluation:
        folds: dict[int, Evaluation] = {}
        for fold in config.folds:
            splits = split_for_session(data, table, SESSIONS[fold])
            folds[fold] = self.train(upstream, splits, config, _fold_workdir(workdir, fold), context, scored)
        scores = {
            split: {"accuracy": mean(one.scores[split]["accuracy"] for one in folds.values())} for split in scored
        }
        predictions: list[dict[str, Any]] = [
            {**row, "fold": fold} for fold, one in folds.items() for row in with_unit_weight(one.predictions)
        ]
        settings = {
            "loss": {split: mean(one.settings["loss"][split] for one in folds.values()) for split in scored},
            "fold_scores": {
                fold: {split: dict(values) for split, values in one.scores.items()} for fold, one in folds.items()
            },
            **_mean_layer_weights([one.settings for one in folds.values()]),
            "folds": {fold: dict(one.settings) for fold, one in folds.items()},
        }
        return Evaluation(scores=scores, predictions=predictions, settings=settings)

    def _train_folds_together(
        self, upstream: Upstream, data: IEMOCAPData, table: pd.DataFrame, heads: Sequence[Head[ERConfig]]
    ) -> None:
        for fold in heads[0].config.folds:
            splits = split_for_session(data, table, SESSIONS[fold])
            of_fold = [replace(head, workdir=_fold_workdir(head.workdir, fold)) for head in heads]
            self.train_together(upstream, splits, of_fold)


def _fold_workdir(workdir: Path, fold: int) -> Path:
    return workdir / f"fold{fold}"


def _mean_layer_weights(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    found = [one["layer_weights"] for one in settings if "layer_weights" in one]
    return {"layer_weights": [mean(weights) for weights in zip(*found, strict=True)]} if found else {}
