"""Settings of SUPERB's head for sequences, which s3prl's recipe builds.

The head: weighted sum of hidden states, SpecAugment, projection, bidirectional LSTM, CTC.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from bench.contracts import Settings
from bench.contracts.bounds import Depth, LearningRate, Width
from tasks.heads.config import FRAME_RATES, MINI, PAPER, SMOKE, HeadConfig


class SpecAugment(Settings):
    """Masks on the weighted sum of hidden states, in training only. Each mask draws its own width."""

    max_frequency_mask: Width = 50
    """Widest mask, in feature dimensions."""
    num_frequency_masks: Depth = 4
    """Masks per utterance."""
    max_time_mask: Width = 40
    """Widest mask, in frames."""
    num_time_masks: Depth = 2
    """Masks per utterance."""
    time_warp_window: int = Field(default=5, ge=0, le=65_536)
    """Largest shift of the warped point in time, in frames; 0 disables time warping."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Return s3prl's arguments of SpecAugment."""
        return {
            "apply_time_warp": self.time_warp_window > 0,
            "time_warp_window": self.time_warp_window,
            "freq_mask_width_range": [0, self.max_frequency_mask],
            "num_freq_mask": self.num_frequency_masks,
            "time_mask_width_range": [0, self.max_time_mask],
            "num_time_mask": self.num_time_masks,
        }


class RecurrentHeadConfig(HeadConfig):
    """Training of SUPERB's bidirectional LSTM on the weighted sum of hidden states, with CTC.

    Source: s3prl 0.4.18, ``SuperbASR.default_config`` and ``SuperbSF.default_config``.
    """

    learning_rates: tuple[LearningRate, ...] = Field(default=(1e-4, 1e-3, 3e-3, 1e-2), min_length=1, max_length=100)
    """Candidates of ``learning_rate: auto``."""
    projection_size: Width = 1024
    """Width of the linear layer before the LSTM."""
    hidden_size: Width = 1024
    """Units per direction of each LSTM layer."""
    num_lstm_layers: Depth = 2
    """Bidirectional LSTM layers."""
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """After each LSTM layer."""
    spec_augment: SpecAugment = SpecAugment()
    """Augmentation of the features."""

    def recipe_arguments(self) -> dict[str, Any]:
        """Return the arguments of s3prl's recipe."""
        layers = self.num_lstm_layers
        downstream = {
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
        return {**super().recipe_arguments(), "build_downstream": downstream}

    def head_macs_per_frame(self, dim: int) -> int:
        """Return the MACs of a forward pass over one frame: the projection, and both directions of each LSTM layer."""
        return dim * self.projection_size + blstm_macs(self.projection_size, self.hidden_size, self.num_lstm_layers)


def blstm_macs(input_size: int, hidden_size: int, num_layers: int) -> int:
    """Return the MACs of a bidirectional LSTM over one frame: four gates on the input and on the last state."""
    inputs = [input_size, *[2 * hidden_size] * (num_layers - 1)]
    return sum(2 * 4 * hidden_size * (size + hidden_size) for size in inputs)


# SUPERB's masks would cover most of a narrow upstream, which a short training cannot compensate.
_LIGHT_MASKS = SpecAugment(
    max_frequency_mask=10, num_frequency_masks=1, max_time_mask=10, num_time_masks=1, time_warp_window=0
)

PAPER_RECURRENT: dict[str, Any] = {
    **PAPER,
    "total_steps": 200_000,
    "learning_rate": "auto",
    "learning_rates": FRAME_RATES,
    "eval_batch_size": 1,
    "eval_interval_steps": 2_000,
    "save_interval_steps": 500,
}
"""Settings that the presets ``paper`` of the tasks with this head share."""
MINI_RECURRENT: dict[str, Any] = {
    **MINI,
    "learning_rate": 3e-3,
    "eval_batch_size": 8,
    "projection_size": 192,
    "hidden_size": 192,
    "num_lstm_layers": 1,
    "spec_augment": _LIGHT_MASKS,
}
SMOKE_RECURRENT: dict[str, Any] = {
    **SMOKE,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "eval_batch_size": 1,
    "projection_size": 64,
    "hidden_size": 64,
    "num_lstm_layers": 1,
    "spec_augment": _LIGHT_MASKS,
    "max_train_utterances": 16,
    "max_eval_utterances": 8,
}
