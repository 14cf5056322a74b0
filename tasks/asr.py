"""Speech recognition on LibriSpeech, by SUPERB's recipe: a bidirectional LSTM on characters, CTC, no language model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from bench.contracts import Evaluation, Metric, Settings, SuperbStandard, TaskLoss
from tasks.corpora.librispeech import LibriSpeechData, read_librispeech
from tasks.corpora.own_data import ManifestData, read_texts
from tasks.heads.recurrent import MINI_RECURRENT, PAPER_RECURRENT, SMOKE_RECURRENT, RecurrentHeadConfig
from tasks.heads.task import HeadTask
from tasks.metrics.counts import transcript_counts
from tasks.metrics.error_rates import texts, word_errors

if TYPE_CHECKING:
    from tasks.bridge.run import RecipeResult

# The recipe halves batches with an utterance longer than this. All utterances are longer.
_HALVING_SAMPLES = 2000


class ASRConfig(RecurrentHeadConfig):
    """SUPERB's head: weighted sum of hidden states, SpecAugment, projection, bidirectional LSTM layers, CTC.

    The preset ``paper`` is s3prl's recipe, with SUPERB's search for the learning rate. The recipe says batches of 32
    but halves every one of them (see ``_HALVING_SAMPLES``), so ``batch_size`` is 16 here.

    Source: s3prl 0.4.18, ``SuperbASR.default_config``.
    """

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe."""
        arguments = super().recipe_arguments()
        arguments["build_batch_sampler"]["train"] = {"batch_size": 2 * self.batch_size, "max_length": _HALVING_SAMPLES}
        return arguments


class ASR(HeadTask[ASRConfig, LibriSpeechData | ManifestData]):
    """Speech recognition."""

    name: ClassVar[str] = "asr"
    summary: ClassVar[str] = "Speech recognition: LibriSpeech train-clean-100, s3prl's SuperbASR (BLSTM, CTC, no LM)"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("wer", higher_is_better=False, primary=True),
        Metric("cer", higher_is_better=False),
    )
    config_type: ClassVar[type[Settings]] = ASRConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"librispeech": LibriSpeechData, "manifest": ManifestData}
    recipe: ClassVar[tuple[str, str]] = ("s3prl.problem.asr.superb_asr", "SuperbASR")
    balance: ClassVar[str] = "speaker"
    counts = staticmethod(transcript_counts)
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # LibriSpeech train-clean-100 and test-clean: Panayotov et al. 2015, table 1.
        total_steps=200_000,
        num_test_utterances=2_620,
        num_train_utterances=28_539,
    )
    presets: ClassVar[dict[str, ASRConfig]] = {
        "paper": ASRConfig(
            **PAPER_RECURRENT,
            batch_size=16,
        ),
        "mini": ASRConfig(
            **MINI_RECURRENT,
            total_steps=1_500,
            batch_size=4,
            eval_interval_steps=500,
            save_interval_steps=100,
        ),
        "smoke": ASRConfig(
            **SMOKE_RECURRENT,
        ),
    }

    def read(self, data: LibriSpeechData | ManifestData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``train``, ``dev`` and ``test``, with the words as transcription.

        Raises:
            UserError: something is missing or contradictory.
        """
        return read_texts(data) if isinstance(data, ManifestData) else read_librispeech(data)

    def loss_of(self, table: pd.DataFrame) -> TaskLoss:
        """Return CTC's loss over characters; see `HeadTask`."""
        from tasks.heads.task_loss import sequence_loss

        return sequence_loss(self.name, table, [tuple(text) for text in table["transcription"]])

    def score(self, result: RecipeResult) -> Evaluation:
        """Score the head's greedy transcripts, and add the counts of each kind of word error to the settings."""
        evaluation = super().score(result)
        errors = {split: word_errors(*texts(rows)) for split, rows in result.predictions_by_split().items()}
        return replace(evaluation, settings={**evaluation.settings, "word_errors": errors})
