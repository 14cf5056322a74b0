"""The baseline that every upstream must beat: log mel filter banks with their deltas. It has no parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bench.upstream.cost import SUPERB_LENGTHS, SuperbMacs

SAMPLE_RATE_HZ = 16_000
FRAME_LENGTH = 400
FRAME_SHIFT = 160
NUM_MEL_BINS = 80
DELTA_WINDOW = 5
NUM_SPECTRUM_BINS = 257
"""Bins of the Fourier transform of one window, padded to 512 samples."""


class FbankUpstream(nn.Module):
    """Filter banks in place of an upstream: one hidden state, with one frame every 10 ms.

    80 log mel bands of 25 ms windows, with their first and second differences. Utterances are not normalised: their
    mean would be zero, so a mean-pooling head would get no signal.

    Source: s3prl's upstream ``fbank_no_cmvn``.
    """

    stride = FRAME_SHIFT
    num_layers = 0
    dim = 3 * NUM_MEL_BINS

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Compute the one hidden state.

        Args:
            waveforms: (batch, samples) float32 at 16 kHz, zero-padded.
            lengths: (batch,) valid samples of each utterance. Default: all samples.

        Returns:
            One tensor (batch, frames, 240), zero after the end of an utterance, and the valid frames of each (batch,).

        Raises:
            ValueError: an utterance is too short for a single frame (400 samples).
        """
        if lengths is None:
            lengths = torch.full((waveforms.shape[0],), waveforms.shape[1], device=waveforms.device)
        if int(lengths.min()) < FRAME_LENGTH:
            raise ValueError(f"an utterance of {int(lengths.min())} samples is too short for a single frame")
        features = [
            _filter_banks(waveform[:length]) for waveform, length in zip(waveforms, lengths.tolist(), strict=True)
        ]
        return [pad_sequence(features, batch_first=True)], self.frame_lengths(lengths)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Map lengths in samples (batch,) to lengths in frames (batch,)."""
        return ((lengths - FRAME_LENGTH).div(FRAME_SHIFT, rounding_mode="floor") + 1).clamp(min=0)


def count_fbank_macs(num_samples: int) -> int:
    """Count the MACs of filter banks like those of models: only matrix products and convolutions.

    These are the mel filters on the power spectrum and the two convolutions of the differences. The Fourier transform
    and the logarithm are free, as in SUPERB's profiler.
    """
    num_frames = max((num_samples - FRAME_LENGTH) // FRAME_SHIFT + 1, 0)
    return num_frames * NUM_MEL_BINS * (NUM_SPECTRUM_BINS + 2 * DELTA_WINDOW)


def superb_fbank_macs() -> SuperbMacs:
    """Count the MACs of filter banks over SUPERB's 32 utterances. The profiler's count equals the plain one here."""
    buckets = {
        bucket: sum(count_fbank_macs(length) for length in lengths) for bucket, lengths in SUPERB_LENGTHS.items()
    }
    total = sum(buckets.values())
    return SuperbMacs(macs=total, macs_superb=total, buckets=buckets)


def _filter_banks(waveform: Tensor) -> Tensor:
    """Map (samples,) to (frames, 240)."""
    # Imported here so that counting costs and converting models work without torchaudio.
    from torchaudio.compliance import kaldi
    from torchaudio.functional import compute_deltas

    bands = kaldi.fbank(waveform[None], num_mel_bins=NUM_MEL_BINS, sample_frequency=SAMPLE_RATE_HZ).T  # (80, frames)
    delta = compute_deltas(bands, DELTA_WINDOW)
    return torch.cat([bands, delta, compute_deltas(delta, DELTA_WINDOW)]).T
