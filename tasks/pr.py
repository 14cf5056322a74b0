"""Phoneme recognition on LibriSpeech, by SUPERB's recipe: a linear head and CTC on every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from bench.contracts import Metric, Settings, SuperbStandard, TaskLoss
from bench.contracts.bounds import Width
from tasks.corpora.librispeech import LibriSpeechData, read_librispeech
from tasks.corpora.own_data import ManifestData, read_texts
from tasks.corpora.pronunciations import pronounced
from tasks.heads.config import FRAME_RATES, MINI, PAPER, SMOKE, HeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import phone_counts


class PRLibriSpeechData(LibriSpeechData):
    """LibriSpeech with a lexicon."""

    lexicon: Path
    """One line `WORD PHONE PHONE ...` per word. The first of several pronunciations is used."""


class PRManifestData(ManifestData):
    """One's own transcribed recordings, with a lexicon."""

    lexicon: Path
    """One line `WORD PHONE PHONE ...` per word. The first of several pronunciations is used."""


class PRConfig(HeadConfig):
    """SUPERB's head: weighted sum of hidden states, two linear layers on every frame, CTC.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate. The recipe's own 1e-2 is not
    what gave SUPERB's scores: WavLM gets a worse PER with it (s3prl, issue 498).

    Source: s3prl 0.4.18, ``SuperbPR.default_config``.
    """

    hidden_size: Width = 256
    """Width between the two linear layers."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe."""
        return {**super().recipe_arguments(), "build_downstream": {"hidden_size": self.hidden_size}}

    def head_macs_per_frame(self, dim: int) -> int:
        """Return the MACs of a forward pass over one frame: the first linear layer."""
        return dim * self.hidden_size


class PR(HeadTask[PRConfig, PRLibriSpeechData | PRManifestData]):
    """Phoneme recognition."""

    name: ClassVar[str] = "pr"
    summary: ClassVar[str] = "Phoneme recognition: LibriSpeech train-clean-100, s3prl's SuperbPR (linear head, CTC)"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("per", higher_is_better=False, primary=True),)
    config_type: ClassVar[type[Settings]] = PRConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"librispeech": PRLibriSpeechData, "manifest": PRManifestData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.asr.superb_pr", "SuperbPR")
    balance: ClassVar[str] = "speaker"
    counts = staticmethod(phone_counts)
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # LibriSpeech train-clean-100 and test-clean: Panayotov et al. 2015, table 1.
        total_steps=100_000,
        num_test_utterances=2_620,
        num_train_utterances=28_539,
    )
    presets: ClassVar[dict[str, PRConfig]] = {
        "paper": PRConfig(
            **PAPER,
            total_steps=100_000,
            learning_rate="auto",
            learning_rates=FRAME_RATES,
            batch_size=16,
            gradient_accumulation_steps=2,
            eval_batch_size=1,
            eval_interval_steps=1_000,
            save_interval_steps=100,
        ),
        "mini": PRConfig(
            **MINI,
            total_steps=600,
            learning_rate=1e-2,
            batch_size=16,
            eval_batch_size=8,
            eval_interval_steps=100,
            save_interval_steps=100,
        ),
        "smoke": PRConfig(
            **SMOKE,
            learning_rate=1e-2,
            batch_size=4,
            eval_batch_size=1,
            max_train_utterances=16,
            max_eval_utterances=8,
        ),
    }

    def read(self, data: PRLibriSpeechData | PRManifestData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, with the phones as transcription and the words as text.

        Raises:
            UserError: something is missing or contradictory.
        """
        splits = read_texts(data) if isinstance(data, ManifestData) else read_librispeech(data)
        return pronounced(splits, data.lexicon)

    def loss_of(self, table: pd.DataFrame) -> TaskLoss:
        """Return CTC's loss over phones; see `HeadTask`."""
        from tasks.heads.task_loss import sequence_loss

        return sequence_loss(self.name, table, [tuple(text.split()) for text in table["transcription"]])
