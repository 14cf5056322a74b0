"""Keyword spotting on Speech Commands v0.01, by SUPERB's recipe."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from bench.contracts import Metric, Settings, SuperbStandard
from tasks.corpora.labels import check_classes
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.corpora.speech_commands import SpeechCommandsData, read_speech_commands
from tasks.heads.config import PAPER, SMOKE, SUPERB_RATES
from tasks.heads.pooled import ACCURACY, MINI_POOLED, PooledHeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import accuracy_counts


class KSConfig(PooledHeadConfig):
    """Settings of SUPERB's head: weighted sum of hidden states, linear, mean over time, linear.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate.

    Source: s3prl 0.4.18, ``SuperbKS.default_config``.
    """


class KS(HeadTask[KSConfig, SpeechCommandsData | ManifestData]):
    """Keyword spotting.

    The recipe selects the best head on a class-balanced sample of dev. The reported dev accuracy covers all of dev,
    each clip once.
    """

    name: ClassVar[str] = "ks"
    summary: ClassVar[str] = "Keyword spotting: Speech Commands v0.01, s3prl's SuperbKS (mean-pooled linear head)"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    config_type: ClassVar[type[Settings]] = KSConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"speech_commands": SpeechCommandsData, "manifest": ManifestData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.common.superb_ks", "SuperbKS")
    balance: ClassVar[str] = "label"
    counts = staticmethod(accuracy_counts)
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # The recipe cuts noise into training utterances.
        total_steps=200_000,
        num_test_utterances=3_081,
    )
    presets: ClassVar[dict[str, KSConfig]] = {
        "paper": KSConfig(
            **PAPER,
            total_steps=200_000,
            learning_rate="auto",
            learning_rates=SUPERB_RATES,
            batch_size=32,
            eval_batch_size=32,
            eval_interval_steps=5_000,
            save_interval_steps=1_000,
        ),
        "mini": KSConfig(
            **MINI_POOLED,
            total_steps=1_000,
            learning_rate=2e-3,
            eval_interval_steps=100,
            save_interval_steps=100,
        ),
        "smoke": KSConfig(
            **SMOKE,
            learning_rate=1e-3,
            batch_size=16,
            eval_batch_size=32,
            max_train_utterances=60,
            max_eval_utterances=60,
        ),
    }

    def read(self, data: SpeechCommandsData | ManifestData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``. The classes of a manifest are its labels.

        Raises:
            UserError: something is missing or contradictory.
        """
        if isinstance(data, ManifestData):
            place = data.manifest
            own = read_own_data(data, ("label",))
            # The recipe reads a segment of each file. None means the whole file.
            splits = {split: table.assign(start_sec=None, end_sec=None) for split, table in own.items()}
        else:
            place = data.test_root
            splits = read_speech_commands(data)
        check_classes(splits, "label", place)
        return splits
