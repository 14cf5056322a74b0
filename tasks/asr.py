"""Speech recognition on LibriSpeech, by SUPERB's recipe: a bidirectional LSTM on characters, CTC, no language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import jiwer
from pydantic import Field, NonNegativeInt, PositiveInt

from bench.contracts import Context, Evaluation, Metric, Settings, Upstream
from tasks.head_config import HeadConfig
from tasks.librispeech import LibriSpeechData, read_librispeech

# The recipe halves the batch of every utterance longer than this, which all are.
_HALVING_SAMPLES = 2000


class SpecAugment(Settings):
    """Masks on the weighted sum of hidden states, in training only. Widths are drawn anew for every mask."""

    max_frequency_mask: PositiveInt = 50
    """Widest mask, in feature dimensions."""
    num_frequency_masks: PositiveInt = 4
    """Masks an utterance."""
    max_time_mask: PositiveInt = 40
    """Widest mask, in frames."""
    num_time_masks: PositiveInt = 2
    """Masks an utterance."""
    time_warp_window: NonNegativeInt = 5
    """Furthest shift of the point that time is warped around, in frames; 0 warps nothing."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Spell the masks in s3prl's words."""
        return {
            "apply_time_warp": self.time_warp_window > 0,
            "time_warp_window": self.time_warp_window,
            "freq_mask_width_range": [0, self.max_frequency_mask],
            "num_freq_mask": self.num_frequency_masks,
            "time_mask_width_range": [0, self.max_time_mask],
            "num_time_mask": self.num_time_masks,
        }


class ASRConfig(HeadConfig):
    """SUPERB's head: weighted sum of hidden states, SpecAugment, projection, bidirectional LSTM layers, CTC.

    The preset ``paper`` is the recipe as it is. SUPERB lets the learning rate vary; 1e-4 is s3prl's default, and what
    LightHuBERT's authors list for ASR. The recipe's batches of 32 are written as 16, since its limit of 2000 samples
    halves every one of them.

    Source: s3prl 0.4.18, ``SuperbASR.default_config``; learning rate: github.com/mechanicalsea/lighthubert, issue 2.
    """

    projection_size: PositiveInt = 1024
    """Width of the linear layer before the LSTM."""
    hidden_size: PositiveInt = 1024
    """Units a direction in each LSTM layer."""
    num_lstm_layers: PositiveInt = 2
    """Bidirectional LSTM layers."""
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """After each LSTM layer."""
    spec_augment: SpecAugment = SpecAugment()
    """Augmentation of the features."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Spell the configuration in s3prl's words."""
        arguments = super().recipe_arguments()
        arguments["build_batch_sampler"]["train"] = {"batch_size": 2 * self.batch_size, "max_length": _HALVING_SAMPLES}
        layers = self.num_lstm_layers
        arguments["build_downstream"] = {
            "model_conf": {
                "proj_size": self.projection_size,
                "hidden_size": [self.hidden_size] * layers,
                "dropout": [self.dropout] * layers,
                "layer_norm": [False] * layers,
                "proj": [False] * layers,
                "sample_rate": [1] * layers,
            },
            "specaug_conf": self.spec_augment.recipe_arguments(),
        }
        return arguments


# SUPERB's masks would cover most of a narrow upstream, and a short training cannot make up for that.
_LIGHT_MASKS = SpecAugment(
    max_frequency_mask=10, num_frequency_masks=1, max_time_mask=10, num_time_masks=1, time_warp_window=0
)


class ASR:
    """Speech recognition."""

    name: ClassVar[str] = "asr"
    summary: ClassVar[str] = "Speech recognition: LibriSpeech train-clean-100, s3prl's SuperbASR (BLSTM, CTC, no LM)"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("wer", higher_is_better=False, primary=True),
        Metric("cer", higher_is_better=False),
    )
    config_type: ClassVar[type[Settings]] = ASRConfig
    data_type: ClassVar[type[Settings]] = LibriSpeechData
    presets: ClassVar[dict[str, ASRConfig]] = {
        "paper": ASRConfig(
            total_steps=200_000,
            learning_rate=1e-4,
            batch_size=16,
            eval_batch_size=1,
            eval_interval_steps=2_000,
            save_interval_steps=500,
            num_workers=6,
        ),
        "mini": ASRConfig(
            total_steps=500,
            learning_rate=3e-3,
            batch_size=4,
            eval_batch_size=8,
            eval_interval_steps=250,
            save_interval_steps=50,
            num_workers=0,
            projection_size=192,
            hidden_size=192,
            num_lstm_layers=1,
            spec_augment=_LIGHT_MASKS,
        ),
        "smoke": ASRConfig(
            total_steps=20,
            learning_rate=1e-3,
            batch_size=4,
            eval_batch_size=1,
            eval_interval_steps=10,
            save_interval_steps=10,
            num_workers=0,
            projection_size=64,
            hidden_size=64,
            num_lstm_layers=1,
            spec_augment=_LIGHT_MASKS,
            max_train_utterances=16,
            max_eval_utterances=8,
        ),
    }

    def __init__(self, config: ASRConfig) -> None:
        self._config = config

    def check(self, data: LibriSpeechData) -> None:
        """Refuse a corpus that is missing, incomplete, unreadable or not 16 kHz.

        Raises:
            UserError: what is missing, and where.
        """
        read_librispeech(data)

    def evaluate(self, upstream: Upstream, data: LibriSpeechData, workdir: Path, context: Context) -> Evaluation:
        """Train SUPERB's head and score its greedy transcripts of the whole test and dev sets.

        Raises:
            UserError: the corpus is unusable, or audio turned out to be torn or not finite.
        """
        from tasks.s3prl_bridge import run_recipe

        config = self._config
        result = run_recipe(
            ("s3prl.problem.asr.superb_asr", "SuperbASR"),
            config.recipe_arguments(),
            config.limited(read_librispeech(data), by="speaker"),
            upstream,
            workdir,
            context,
            features="frames",
        )
        scores = {
            split: error_rates([row["reference"] for row in rows], [row["prediction"] for row in rows])
            for split, rows in result.predictions_by_split().items()
        }
        return Evaluation(scores=scores, predictions=result.predictions, settings=result.settings)


class _SplitAtSpaces(jiwer.AbstractTransform):  # type: ignore[misc]
    """Words as s3prl counts them: two spaces in a row have an empty word between them."""

    def process_string(self, s: str) -> list[str]:
        return s.split(" ")

    def process_list(self, inp: list[str]) -> list[list[str]]:
        return [self.process_string(text) for text in inp]


class _Characters(_SplitAtSpaces):
    """Every character counts, spaces too."""

    def process_string(self, s: str) -> list[str]:
        return list(s)


def error_rates(references: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Compute word and character error rate over a whole set: edits by reference words, and by characters.

    Texts are taken as they are: no normalisation, spaces count as characters, as in s3prl.
    """
    words, characters = _SplitAtSpaces(), _Characters()
    return {
        "wer": jiwer.wer(list(references), list(predictions), words, words),
        "cer": jiwer.cer(list(references), list(predictions), characters, characters),
    }
