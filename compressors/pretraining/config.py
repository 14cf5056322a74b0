"""The settings of ``bench pretrain`` and its presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from bench.contracts import Settings
from bench.contracts.bounds import Depth, Width
from bench.upstream.config import Architecture, DropoutRates, UpstreamConfig, uniform_config
from compressors.presets import HUBERT_TRAINING
from compressors.settings import MaskedPredictionConfig, StageConfig, TrainingConfig
from compressors.training.augmentation import AugmentationConfig

UnitKind = Literal["mfcc", "hidden", "phones", "speakers"]


class ShapeConfig(Settings):
    """The model to train. The defaults are HuBERT Base's.

    Source: HuBERT (arXiv 2106.07447) table I.
    """

    architecture: Architecture = "hubert"
    """``hubert``, ``wav2vec2`` (the same network) or ``wavlm``."""
    dim: Width = 768
    """Width of the residual stream."""
    num_layers: Depth = 12
    """Transformer layers."""
    heads: Width = 12
    """Attention heads of each layer."""
    feed_forward: Width = 3072
    """Width of each feed-forward block."""
    conv_channels: Width | tuple[Width, ...] = 512
    """Channels of the seven convolutions: one number for all, or one for each."""
    positional_kernel: Width = 128
    """Kernel of the positional convolution, in frames."""
    positional_groups: Width = 16
    """Groups of the positional convolution."""
    large: bool = False
    """Layer-norm extractor, pre-norm transformer and normalised waveforms, as in the Large models."""
    dropout: DropoutRates = DropoutRates()
    """Dropout rates in training."""

    @model_validator(mode="after")
    def _is_a_model(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        self.upstream_config()
        return self

    def upstream_config(self) -> UpstreamConfig:
        """Describe the model layer by layer."""
        return uniform_config(
            self.architecture,
            self.dim,
            self.num_layers,
            self.heads,
            self.feed_forward,
            self.conv_channels,
            large=self.large,
            positional_kernel=self.positional_kernel,
            positional_groups=self.positional_groups,
            dropout=self.dropout,
        )


class PredictionConfig(Settings):
    """Units, and the hidden state that predicts them."""

    units: UnitKind = "mfcc"
    """``mfcc``: k-means clusters of MFCCs. ``hidden``: k-means clusters of a hidden state of the previous iteration.
    ``phones``: from ``phones.jsonl`` next to the audio. ``speakers``: from the manifest's column ``speaker``."""
    layer: Depth = 12
    """The hidden state that predicts them, 1 to ``shape.num_layers``."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of the loss, relative to the other predictions."""
    num_units: int = Field(default=100, ge=2, le=30_000)
    """Number of clusters. Phones and speakers ignore it."""
    hidden_layer: int | None = Field(default=None, ge=0)
    """The hidden state to cluster (``hidden``)."""

    @model_validator(mode="after")
    def _names_a_layer(self) -> Self:
        if (self.units == "hidden") != (self.hidden_layer is not None):
            raise ValueError(f"hidden_layer {self.hidden_layer} does not go with units {self.units}")
        return self


class IterationConfig(StageConfig):
    """One training from random weights."""

    predictions: tuple[PredictionConfig, ...] = Field(min_length=1, max_length=64)
    """What to predict. ``training.csv`` has the accuracies of the last one."""


class PretrainingConfig(TrainingConfig, MaskedPredictionConfig, AugmentationConfig):
    """HuBERT's recipe."""

    shape: ShapeConfig = ShapeConfig()
    """The model."""
    log_mel: StageConfig | None = None
    """A first training of the extractor alone, which predicts log mel bands. All iterations start from its extractor.
    null: from a random one, as HuBERT does."""
    iterations: tuple[IterationConfig, ...] = Field(min_length=1, max_length=100)
    """Trainings in order. The result is the model of the last one."""
    kmeans_share: float = Field(default=0.1, gt=0, le=1)
    """Share of the files that k-means sees. Source: HuBERT section IV-B."""
    held_out_s: float = Field(default=600.0, gt=0, le=36_000_000)
    """Held-out speech in seconds, at most a tenth of all. Whole speakers are held out if folders identify them."""

    @model_validator(mode="after")
    def _layers_are_there(self) -> Self:
        for number, iteration in enumerate(self.iterations):
            for prediction in iteration.predictions:
                _require_layers(prediction, self.shape.num_layers, is_first=number == 0)
        return self


def _require_layers(prediction: PredictionConfig, num_layers: int, *, is_first: bool) -> None:
    for layer in (prediction.layer, prediction.hidden_layer or 0):
        if layer > num_layers:
            raise ValueError(f"there is no layer {layer} in a model of {num_layers}")
    if is_first and prediction.units == "hidden":
        raise ValueError("units hidden need a previous iteration, and the first iteration has none")


BASE = PretrainingConfig(
    shape=ShapeConfig(dropout=DropoutRates(layer=0.05)),
    iterations=(
        IterationConfig(
            updates=250_000,
            warmup_updates=20_000,
            learning_rate=5e-4,
            predictions=(PredictionConfig(units="mfcc", num_units=100, layer=12),),
        ),
        IterationConfig(
            updates=400_000,
            warmup_updates=32_000,
            learning_rate=5e-4,
            predictions=(PredictionConfig(units="hidden", hidden_layer=6, num_units=500, layer=12),),
        ),
    ),
    max_loss_ratio=1.3,
    **HUBERT_TRAINING,
)
"""HuBERT Base on LibriSpeech. 32 accumulated batches replace its 32 GPUs.

Source: HuBERT section IV-B; the reference implementation's ``hubert_base_librispeech`` recipe."""

MINI_SHAPE = ShapeConfig(
    dim=128,
    num_layers=12,
    heads=4,
    feed_forward=512,
    conv_channels=48,
    positional_kernel=32,
    dropout=DropoutRates(projection=0.0, attention=0.0, feed_forward=0.0, hidden=0.0),
)

MINI = PretrainingConfig(
    shape=MINI_SHAPE,
    log_mel=StageConfig(updates=1_200, warmup_updates=50, learning_rate=3e-3),
    iterations=(
        IterationConfig(
            updates=13_000,
            warmup_updates=500,
            learning_rate=1e-3,
            predictions=(
                PredictionConfig(units="mfcc", num_units=100, layer=4, weight=0.3),
                PredictionConfig(units="speakers", layer=6, weight=0.25),
                PredictionConfig(units="phones", layer=8, weight=0.3),
                PredictionConfig(units="phones", layer=12),
            ),
        ),
    ),
    extractor_gradient_scale=0.0,
    feature_penalty_weight=0.0,
    unmasked_loss_weight=1.0,
    mask_start_probability=0.065,
    projection_dim=64,
    seconds_per_batch=30.0,
    max_duration_s=2.5,
    precision="auto",
    max_gradient_norm=1.0,
    checkpoint_updates=100,
    log_updates=50,
    max_loss_ratio=1.3,
    held_out_s=300.0,
    mixing_probability=0.1,
    noise_probability=0.8,
    reverberation_probability=0.5,
    microphone_db=4.0,
)

SMOKE = PretrainingConfig(
    shape=ShapeConfig(
        dim=32,
        num_layers=2,
        heads=2,
        feed_forward=64,
        conv_channels=16,
        positional_kernel=16,
        dropout=MINI_SHAPE.dropout,
    ),
    iterations=(
        IterationConfig(
            updates=8,
            warmup_updates=2,
            learning_rate=2e-3,
            predictions=(PredictionConfig(units="mfcc", num_units=8, layer=2),),
        ),
        IterationConfig(
            updates=8,
            warmup_updates=2,
            learning_rate=2e-3,
            predictions=(PredictionConfig(units="hidden", hidden_layer=1, num_units=8, layer=2),),
        ),
    ),
    unmasked_loss_weight=0.5,
    projection_dim=16,
    kmeans_share=1.0,
    seconds_per_batch=4.0,
    min_duration_s=0.5,
    max_duration_s=1.0,
    checkpoint_updates=4,
    log_updates=2,
    held_out_s=3.0,
)

PRESETS: dict[str, PretrainingConfig] = {"mini": MINI, "base": BASE, "smoke": SMOKE}
