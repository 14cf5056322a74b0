"""Features for k-means: one vector for each frame of the model.

Source: HuBERT (arXiv 2106.07447) section IV-B, and its reference implementation's ``simple_kmeans``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.audio.compact import CompactFiles
from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, read_waveform
from bench.contracts import Context
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.workers.reader_errors import leave_signals_to_parent, plain_reader_errors
from bench.workers.worker_tensors import prepare_workers

Features = NDArray[np.float32]
"""(frames, dim)."""

MFCC_STRIDE = 160
"""Samples between two MFCC frames (10 ms), whose window of 400 samples is as long as a frame of the model."""
LONGEST_FRAMES = 1500
"""Most frames per forward pass (30 s), because attention grows with their square."""


class FrameFeatures(Protocol):
    """A kind of features."""

    dim: int
    device: str
    """Where they are computed."""

    def of(self, files: Sequence[AudioFile]) -> Iterator[Features]:
        """Compute the features of files, in their order."""
        ...


class MfccFeatures:
    """Thirteen MFCCs with their first and second differences, at the model's frames."""

    dim = 39
    device = "cpu"

    def __init__(self, config: UpstreamConfig, num_workers: int = 0) -> None:
        self.config = config
        self.num_workers = num_workers

    def of(self, files: Sequence[AudioFile]) -> Iterator[Features]:
        """Compute the features of files, in their order."""
        for waveform in _waveforms(files, self.num_workers):
            yield aligned_mfcc(waveform, self.config)


def aligned_mfcc(waveform: Tensor, config: UpstreamConfig) -> Features:
    """Compute MFCCs and differences at 100 Hz, and keep those whose window is a frame of the model.

    Both have windows of 400 samples that start at multiples of their stride, so frame ``t`` of the model is MFCC frame
    ``2 t``.

    Args:
        waveform: (samples,) at 16 kHz.
        config: shape of the model, which defines the frames.

    Returns:
        (frames, 39).
    """
    # Imported here: methods without MFCCs must work on installations where torchaudio does not.
    from torchaudio.compliance.kaldi import mfcc
    from torchaudio.functional import compute_deltas

    coefficients = mfcc(waveform[None], sample_frequency=SAMPLE_RATE_HZ, use_energy=False).T  # (13, 10-ms frames)
    differences = compute_deltas(coefficients)
    features = torch.cat([coefficients, differences, compute_deltas(differences)]).T
    num_frames = config.num_frames(len(waveform))
    return features[:: config.stride // MFCC_STRIDE][:num_frames].numpy()


class HiddenFeatures:
    """A hidden state of a trained model."""

    def __init__(self, model: UpstreamModel, layer: int, context: Context, num_workers: int = 0) -> None:
        self.model = model.eval().to(context.device)
        self.layer = layer
        self.device: str = context.device
        self.num_workers = num_workers
        self.dim = model.dim

    @torch.no_grad()
    def of(self, files: Sequence[AudioFile]) -> Iterator[Features]:
        """Compute the features of files, in their order."""
        for waveform in _waveforms(files, self.num_workers):
            yield np.concatenate([self._stretch(stretch) for stretch in self._stretches(waveform)])

    def _stretches(self, waveform: Tensor) -> Iterator[Tensor]:
        config = self.model.config
        for first in range(0, config.num_frames(len(waveform)), LONGEST_FRAMES):
            # Windows overlap: the last frame of a stretch needs samples of the next one.
            last = first + LONGEST_FRAMES - 1
            yield waveform[first * config.stride : last * config.stride + config.window]

    def _stretch(self, waveform: Tensor) -> Features:
        states, _ = self.model(waveform[None].to(self.device))
        state: Features = states[self.layer][0, :LONGEST_FRAMES].float().cpu().numpy()
        return state


class _Waveforms(Dataset[Tensor]):
    def __init__(self, files: Sequence[AudioFile]) -> None:
        # Compact, because every worker looks at them.
        self.files = CompactFiles(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(read_waveform(self.files[index]))


def _waveforms(files: Sequence[AudioFile], num_workers: int) -> Iterator[Tensor]:
    prepare_workers(num_workers)
    loader: Any = DataLoader(
        _Waveforms(files), batch_size=None, num_workers=num_workers, worker_init_fn=leave_signals_to_parent
    )
    with plain_reader_errors():
        yield from loader
