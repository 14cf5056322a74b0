"""Automatic speaker verification on VoxCeleb1, by SUPERB's recipe: are two recordings of one speaker?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pandas as pd
from pydantic import Field

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Evaluation, Metric, Settings, SuperbStandard
from bench.contracts.bounds import DurationS, Width
from bench.errors import UserError
from tasks.corpora.corpus_hash import corpus_folder, corpus_sha256
from tasks.corpora.labels import check_labels
from tasks.corpora.trials import SHORTEST_S, check_trials, limited_trials, trials_of, with_trials
from tasks.corpora.voxceleb1_trials import (
    ManifestTrialsData,
    VoxCeleb1TrialsData,
    read_own_trials,
    read_voxceleb1_trials,
)
from tasks.heads.config import MINI, PAPER, SMOKE, HeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import Counts

if TYPE_CHECKING:
    from tasks.bridge.run import RecipeResult


class ASVConfig(HeadConfig):
    """SUPERB's head: weighted sum of hidden states, x-vector, AM-softmax over the training speakers; cosine scores.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate. s3prl tests every checkpoint and
    reports the best one on test; here, dev trials select it, every ``eval_interval_steps``. The optimizer is AdamW.

    Source: s3prl 0.4.18, ``SuperbASV.default_config`` and ``SuperbXvector``; learning rates: LightHuBERT reports 5e-5
    (github.com/mechanicalsea/lighthubert, issue 2).
    """

    min_train_s: Annotated[float, Field(ge=SHORTEST_S, le=3_600.0)] = 2.0
    """Leave out training utterances that are not longer than this after silence is removed."""
    max_train_s: DurationS = 8.0
    """Crop longer training utterances to this length: at a random place, or at a fixed one with ``--protocol
    cached``."""
    hidden_size: Width = 512
    """Width of the linear layer before the x-vector, whose own layers have 512 units."""
    aggregation_size: Width = 1500
    """Width of the x-vector's last layer, whose mean and standard deviation over time are pooled."""
    embedding_size: Width = 512
    """Width of an utterance's embedding."""
    margin: Annotated[float, Field(ge=0.0, le=1.0)] = 0.4
    """AM-softmax's margin: subtracted from the cosine of the right speaker."""
    scale: Annotated[float, Field(gt=0.0, le=1_000.0)] = 30.0
    """AM-softmax's factor of the cosines."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe."""
        common = super().recipe_arguments()
        return {
            **common,
            "build_dataset": {"train": {"min_secs": self.min_train_s, "max_secs": self.max_train_s}},
            "build_downstream": {
                "hidden_size": self.hidden_size,
                "aggregation_size": self.aggregation_size,
                "output_size": self.embedding_size,
            },
            "build_task": {"loss_conf": {"margin": self.margin, "scale": self.scale}},
            "train": {**common["train"], "valid_metric": "EER", "valid_higher_better": False},
        }

    @property
    def longest_train_s(self) -> float:
        """Longest training utterance."""
        return min(self.max_train_s, self.max_duration_s or self.max_train_s)

    def head_macs_per_frame(self, dim: int) -> int:
        """Return the MACs of a forward pass over one frame: the projection and the x-vector's layers on frames."""
        units = 512
        layers = 5 * self.hidden_size * units + 2 * 3 * units * units + units * units + units * self.aggregation_size
        return dim * self.hidden_size + layers

    def limited(self, splits: Mapping[str, pd.DataFrame], by: str) -> dict[str, pd.DataFrame]:
        """Limit the splits, and keep trials whose recordings are both left. Trials of a subset are drawn as pairs.

        Raises:
            UserError: a split has no trials of both kinds left, or no training utterance is long enough.
        """
        wanted = self.model_copy(update={"max_eval_utterances": None})
        limited = HeadConfig.limited(wanted, splits, by)
        for split in ("dev", "test"):
            table = limited[split]
            names = set(table["id"])
            trials = [one for one in trials_of(table) if one.first in names and one.second in names]
            if self.max_eval_utterances is not None and len(table) > self.max_eval_utterances:
                trials = limited_trials(trials, self.max_eval_utterances)
            if {one.is_same for one in trials} != {True, False}:
                raise UserError(
                    f"Expected trials of the same speaker and of different ones in {split}. The limits leave none of "
                    "one kind. Raise max_eval_utterances or max_duration_s."
                )
            limited[split] = with_trials(table, trials)
        if not (limited["train"]["num_samples"] > self.min_train_s * SAMPLE_RATE_HZ).any():
            raise UserError(
                f"Expected training utterances longer than min_train_s, {self.min_train_s:g} s. Found none. Lower it."
            )
        return limited


class ASV(HeadTask[ASVConfig, VoxCeleb1TrialsData | ManifestTrialsData]):
    """Automatic speaker verification."""

    name: ClassVar[str] = "asv"
    summary: ClassVar[str] = "Speaker verification: VoxCeleb1, s3prl's SuperbASV (x-vector, AM-softmax, cosine scores)"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("eer", higher_is_better=False, primary=True, is_ratio_of_counts=False),
    )
    config_type: ClassVar[type[Settings]] = ASVConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"voxceleb1": VoxCeleb1TrialsData, "manifest": ManifestTrialsData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.asv.superb_asv", "SuperbASV")
    balance: ClassVar[str] = "speaker"
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # VoxCeleb1's dev set of 1,211 speakers, and the recordings in the 37,720 trials of veri_test.txt.
        total_steps=200_000,
        num_test_utterances=4_708,
        num_train_utterances=148_642,
    )
    presets: ClassVar[dict[str, ASVConfig]] = {
        "paper": ASVConfig(
            **PAPER,
            total_steps=200_000,
            learning_rate="auto",
            learning_rates=(1e-5, 5e-5, 1e-4, 5e-4, 1e-3),
            batch_size=10,
            gradient_accumulation_steps=5,
            eval_batch_size=1,
            eval_interval_steps=10_000,
            save_interval_steps=10_000,
        ),
        "mini": ASVConfig(
            **MINI,
            total_steps=300,
            learning_rate=1e-3,
            batch_size=16,
            eval_batch_size=1,
            eval_interval_steps=100,
            save_interval_steps=100,
            min_train_s=1.0,
            max_train_s=2.0,
            hidden_size=192,
            aggregation_size=384,
            embedding_size=128,
            margin=0.2,
        ),
        "smoke": ASVConfig(
            **SMOKE,
            learning_rate=1e-3,
            batch_size=4,
            eval_batch_size=1,
            min_train_s=0.5,
            max_train_s=1.0,
            hidden_size=64,
            aggregation_size=64,
            embedding_size=32,
            max_train_utterances=16,
            max_eval_utterances=8,
        ),
    }

    def read(self, data: VoxCeleb1TrialsData | ManifestTrialsData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, with the speaker, and the trials of dev and test.

        Raises:
            UserError: something is missing or contradictory.
        """
        if isinstance(data, ManifestTrialsData):
            place = data.manifest
            splits = read_own_trials(data)
        else:
            place = data.root
            splits = read_voxceleb1_trials(data)
        speakers = set(splits["train"]["speaker"])
        check_labels(dict.fromkeys(splits, speakers), "speaker", place)
        if len(speakers) < 2:
            raise UserError(f"Expected at least two training speakers in {place}. Found one. Add recordings of others.")
        for split in ("dev", "test"):
            check_trials(splits[split], split, place)
        return splits

    def fingerprint(self, data: VoxCeleb1TrialsData | ManifestTrialsData) -> str:
        """Hash the corpus: recordings, speakers, trials and audio."""
        return corpus_sha256(self.checked(data), corpus_folder(data), {"speaker", "trials"})

    @staticmethod
    def counts(reference: str, prediction: str) -> Counts:  # noqa: ARG004 - the base class's signature
        """Count nothing: an equal error rate is no ratio of sums over trials."""
        return {}

    def score(self, result: RecipeResult) -> Evaluation:
        """Take s3prl's equal error rate."""
        scores = {split: {"eer": values["EER"]} for split, values in result.metrics.items()}
        return Evaluation(scores=scores, predictions=result.predictions, settings=result.settings)
