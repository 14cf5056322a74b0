"""Regression of log mel bands: it trains the extractor alone, in minutes, before masked prediction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.audio.files import SAMPLE_RATE_HZ
from bench.upstream import UpstreamModel
from compressors.training.objective import Objective

NUM_BANDS = 40
TRANSFORMED_SAMPLES = 512
LOWEST_POWER = 1e-6
"""Added to the power of each band, relative to the utterance's mean power."""


class LogMelRegression(Objective):
    """The extractor predicts the log mel bands of its own frames through a normalisation and a linear layer."""

    def __init__(self, upstream: UpstreamModel) -> None:
        super().__init__()
        self.extractor = upstream.feature_extractor
        self.bands = LogMel(upstream.config.stride, upstream.config.window)
        channels = upstream.config.conv_layers[-1].channels
        self.readout = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, NUM_BANDS))

    def forward(self, waveforms: Tensor, labels: Tensor, update: int) -> dict[str, Tensor | float]:  # noqa: ARG002 - units are not needed
        """Compute the mean squared error for (batch, samples), in units of the bands' variance."""
        features = self.extractor(waveforms)
        with torch.autocast(waveforms.device.type, enabled=False):
            loss = F.mse_loss(self.readout(features.float()), self.bands(waveforms))
        return {"loss": loss}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Put all weights into one group."""
        return [{"params": self.parameters(), "lr": learning_rate, "weight_decay": 0.0}]


class LogMel(nn.Module):
    """Log mel bands at the frames of a model, relative to the utterance, as its group norm removes the level."""

    window: Tensor
    filters: Tensor

    def __init__(self, stride: int, window: int) -> None:
        super().__init__()
        # Imported here: models load on installations where torchaudio does not.
        from torchaudio.functional import melscale_fbanks

        self.stride = stride
        bins = TRANSFORMED_SAMPLES // 2 + 1
        filters = melscale_fbanks(bins, 20.0, SAMPLE_RATE_HZ / 2, NUM_BANDS, SAMPLE_RATE_HZ)
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """Map (batch, samples) to (batch, frames, bands), of mean 0 and variance 1 in each utterance."""
        frames = waveforms.unfold(1, len(self.window), self.stride) * self.window
        power = torch.fft.rfft(frames, TRANSFORMED_SAMPLES).abs().square() @ self.filters
        level = power.mean((1, 2), keepdim=True).clamp(min=torch.finfo(power.dtype).tiny)
        bands = (power / level + LOWEST_POWER).log()
        mean = bands.mean((1, 2), keepdim=True)
        spread = bands.std((1, 2), keepdim=True).clamp(min=1e-3)
        normalised: Tensor = (bands - mean) / spread
        return normalised
