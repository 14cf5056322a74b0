"""Speaker diarisation on LibriMix, by SUPERB's recipe: who speaks when, with two speakers at once."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pandas as pd
from pydantic import AfterValidator, Field

from bench.contracts import Metric, Settings, SuperbStandard
from bench.contracts.bounds import Depth, Width
from tasks.corpora.corpus_hash import corpus_folder, corpus_sha256
from tasks.corpora.librimix import LibriMixData, ManifestMixturesData, read_librimix, read_own_mixtures
from tasks.heads.config import FRAME_RATES, MINI, PAPER, SMOKE, HeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import Counts
from tasks.metrics.diarization import der_counts


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("Input should be odd")
    return size


Threshold = Annotated[float, Field(gt=0.0, lt=1.0)]
FilterSize = Annotated[int, Field(ge=1, le=999), AfterValidator(_odd)]


class SDConfig(HeadConfig):
    """SUPERB's head: weighted sum of hidden states, LSTM, one output per speaker, permutation-invariant loss.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate. The head answers in chunks, and
    nothing links the speakers of one chunk with those of the next.

    Source: s3prl 0.4.18, ``SuperbSD.default_config`` and ``SuperbDiarizationModel``; learning rates: LightHuBERT
    reports 5e-4 (github.com/mechanicalsea/lighthubert, issue 2).
    """

    chunk_frames: Annotated[int, Field(ge=10, le=1_000_000)] = 2_000
    """Cut recordings into chunks of this many frames of the upstream: 40 s at a stride of 20 ms."""
    hidden_size: Width = 512
    """Units of each LSTM layer, in one direction."""
    num_lstm_layers: Depth = 1
    """Unidirectional LSTM layers."""
    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1, max_length=100)] = (0.3, 0.4, 0.5, 0.6, 0.7)
    """Thresholds of a speaker's probability that the scoring tries. As in s3prl, the score of a split is that of its
    best pair of threshold and median filter."""
    median_filters: Annotated[tuple[FilterSize, ...], Field(min_length=1, max_length=100)] = (1, 11)
    """Median filters over the decisions that the scoring tries: odd numbers of frames, 1 for none."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe."""
        common = super().recipe_arguments()
        # The recipe has no settings of the test's batches: each is one recording.
        batches = {mode: common["build_batch_sampler"][mode] for mode in ("train", "valid")}
        return {
            **common,
            "build_batch_sampler": batches,
            "build_dataset": {"chunk_size": self.chunk_frames},
            "build_downstream": {"hidden_size": self.hidden_size, "rnn_layers": self.num_lstm_layers},
            "scoring": {"thresholds": list(self.thresholds), "median_filters": list(self.median_filters)},
        }

    def head_macs_per_frame(self, dim: int) -> int:
        """Return the MACs of a forward pass over one frame: four gates on the input and on the last state."""
        inputs = [dim, *[self.hidden_size] * (self.num_lstm_layers - 1)]
        return sum(4 * self.hidden_size * (size + self.hidden_size) for size in inputs)


class SD(HeadTask[SDConfig, LibriMixData | ManifestMixturesData]):
    """Speaker diarisation."""

    name: ClassVar[str] = "sd"
    summary: ClassVar[str] = "Speaker diarisation: LibriMix of two speakers, s3prl's SuperbSD (LSTM, PIT loss)"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("der", higher_is_better=False, primary=True),)
    config_type: ClassVar[type[Settings]] = SDConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"librimix": LibriMixData, "manifest": ManifestMixturesData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.diarization.superb_sd", "SuperbSD")
    balance: ClassVar[str] = "speakers"
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # Libri2Mix of train-clean-100, and its test set.
        total_steps=30_000,
        num_test_utterances=3_000,
        num_train_utterances=13_900,
    )
    presets: ClassVar[dict[str, SDConfig]] = {
        "paper": SDConfig(
            **PAPER,
            total_steps=30_000,
            learning_rate="auto",
            learning_rates=FRAME_RATES,
            batch_size=8,
            gradient_accumulation_steps=4,
            eval_batch_size=1,
            eval_interval_steps=500,
            save_interval_steps=500,
        ),
        "mini": SDConfig(
            **MINI,
            total_steps=300,
            learning_rate=1e-3,
            batch_size=8,
            eval_batch_size=1,
            eval_interval_steps=100,
            save_interval_steps=100,
            hidden_size=192,
        ),
        "smoke": SDConfig(
            **SMOKE,
            learning_rate=3e-3,
            batch_size=4,
            eval_batch_size=1,
            hidden_size=64,
            max_train_utterances=16,
            max_eval_utterances=8,
        ),
    }

    def read(self, data: LibriMixData | ManifestMixturesData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, with the turns of speakers.

        Raises:
            UserError: something is missing or contradictory.
        """
        return read_own_mixtures(data) if isinstance(data, ManifestMixturesData) else read_librimix(data)

    def fingerprint(self, data: LibriMixData | ManifestMixturesData) -> str:
        """Hash the corpus: recordings, turns and audio."""
        return corpus_sha256(self.checked(data), corpus_folder(data), {"turns", "recorded_s"})

    @staticmethod
    def counts(reference: str, prediction: str) -> Counts:
        """Count wrong and spoken time."""
        return der_counts(reference, prediction)
