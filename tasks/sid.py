"""Speaker identification on VoxCeleb1, by SUPERB's recipe."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from bench.contracts import Metric, Settings, SuperbStandard
from bench.contracts.bounds import DurationS
from tasks.corpora.labels import check_classes
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.corpora.voxceleb1 import VoxCeleb1Data, read_voxceleb1
from tasks.heads.config import PAPER
from tasks.heads.pooled import ACCURACY, MINI_POOLED, SMOKE_POOLED, PooledHeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import accuracy_counts


class SIDConfig(PooledHeadConfig):
    """SUPERB's head: weighted sum of hidden states, linear, mean over time, linear.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate. The authors report for HuBERT
    Base 81.42 % at 1e-1, which is its published test accuracy, and 67.37 % at the recipe's 1e-4. LightHuBERT reports
    5e-3 for its small model.

    Source: s3prl 0.4.18, ``SuperbSID.default_config``; learning rates: github.com/s3prl/s3prl, issue 268, and
    github.com/mechanicalsea/lighthubert, issue 2.
    """

    max_train_s: DurationS = 8.0
    """Crop longer training utterances to this length: at a random place, or at a fixed one if features are cached."""

    @property
    def longest_train_s(self) -> float:
        """Longest training utterance."""
        return min(self.max_train_s, self.max_duration_s or self.max_train_s)

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe."""
        return {**super().recipe_arguments(), "build_dataset": {"train": {"max_secs": self.max_train_s}}}


class SID(HeadTask[SIDConfig, VoxCeleb1Data | ManifestData]):
    """Speaker identification."""

    name: ClassVar[str] = "sid"
    summary: ClassVar[str] = "Speaker identification: VoxCeleb1, s3prl's SuperbSID (mean-pooled linear head)"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    config_type: ClassVar[type[Settings]] = SIDConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"voxceleb1": VoxCeleb1Data, "manifest": ManifestData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.common.superb_sid", "SuperbSID")
    balance: ClassVar[str] = "label"
    counts = staticmethod(accuracy_counts)
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # VoxCeleb1's iden_split.txt.
        total_steps=200_000,
        num_test_utterances=8_251,
        num_train_utterances=138_361,
    )
    presets: ClassVar[dict[str, SIDConfig]] = {
        "paper": SIDConfig(
            **PAPER,
            total_steps=200_000,
            learning_rate="auto",
            learning_rates=(1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
            batch_size=8,
            gradient_accumulation_steps=4,
            eval_batch_size=1,
            eval_interval_steps=5_000,
            save_interval_steps=1_000,
        ),
        "mini": SIDConfig(
            **MINI_POOLED,
            total_steps=1_000,
            learning_rate=1e-2,
            eval_interval_steps=100,
            save_interval_steps=100,
        ),
        "smoke": SIDConfig(
            **SMOKE_POOLED,
        ),
    }

    def read(self, data: VoxCeleb1Data | ManifestData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, with the speaker as label.

        Raises:
            UserError: something is missing or contradictory.
        """
        if isinstance(data, ManifestData):
            place = data.manifest
            own = read_own_data(data, ("speaker",))
            splits = {split: table.assign(label=table["speaker"]) for split, table in own.items()}
        else:
            place = data.root
            splits = read_voxceleb1(data)
        check_classes(splits, "speaker", place)
        return splits
