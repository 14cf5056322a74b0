"""Fixed ranges of the inputs of linear layers, from calibration audio.

Source: Hong et al., StableQuant (arXiv 2504.14915), for ranges per layer that cut outliers off. It chooses them by the
word error rate of a fine-tuned model; here they have the least squared error of the layer's inputs, which needs neither
labels nor a task. Nagel et al., A White Paper on Neural Network Quantization (arXiv 2106.08295) section 3.1 for both
estimators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile
from bench.progress import tracked
from bench.upstream import UpstreamModel
from bench.upstream.int8_products import LARGEST_INPUT
from bench.upstream.reduction import InputRanges
from compressors.settings import TrainingConfig
from compressors.training.crops import CropBatches, Waveforms

RangeEstimator = Literal["mse", "minmax"]

CALIBRATION_AUDIO = TrainingConfig(seconds_per_batch=16.0, min_duration_s=0.025)
"""How audio is cut into batches."""

_BINS = 2048
_SHARES = torch.linspace(0.1, 1.0, 19).tolist()
"""Candidates for each end of a range, as shares of the smallest and of the largest input."""


def calibration_batches(files: Sequence[AudioFile], duration_s: float, seed: int) -> Waveforms:
    """Draw calibration audio: at least ``duration_s`` seconds, or every file once if that is less."""
    batches = CropBatches(files, CALIBRATION_AUDIO, seed)
    wanted, found, count = duration_s * SAMPLE_RATE_HZ, 0, 0
    while found < wanted and count < batches.num_batches:
        found += sum(crop.num_samples for crop in batches.crops(count))
        count += 1
    return Waveforms(batches, count)


def input_ranges(
    model: UpstreamModel, linears: Sequence[str], batches: Sequence[Tensor], estimator: RangeEstimator
) -> InputRanges:
    """Find the range of the inputs of each linear layer.

    Args:
        model: in evaluation mode, on the CPU.
        linears: paths of the layers.
        batches: waveforms (batch, samples) without padding.
        estimator: ``minmax``: the smallest and the largest input. ``mse``: the range within them whose rounded and
            clipped inputs have the least squared error.
    """
    extremes: dict[str, tuple[float, float]] = {}

    def widen(path: str, inputs: Tensor) -> None:
        low, high = (value.item() for value in torch.aminmax(inputs))
        before = extremes.get(path, (0.0, 0.0))
        extremes[path] = (min(low, before[0]), max(high, before[1]))

    _observe(model, linears, batches, widen, "ranges of inputs")
    if estimator == "minmax":
        return extremes
    counts = {path: torch.zeros(_BINS, dtype=torch.float64) for path in linears}

    def count(path: str, inputs: Tensor) -> None:
        low, high = extremes[path]
        counts[path] += torch.histc(inputs, _BINS, low, high)

    _observe(model, linears, batches, count, "histograms of inputs")
    return {path: _best_range(*extremes[path], counts[path]) for path in linears}


def _best_range(low: float, high: float, counts: Tensor) -> tuple[float, float]:
    """Return the range with the least squared error for a histogram of equal bins from ``low`` to ``high``."""
    if not low < high:
        return low, high
    edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64)
    centres = (edges[1:] + edges[:-1]) / 2
    candidates = list(product([low * share for share in _SHARES], [high * share for share in _SHARES]))
    errors = [_squared_error(*candidate, centres, counts) for candidate in candidates]
    return candidates[errors.index(min(errors))]


def _squared_error(low: float, high: float, values: Tensor, counts: Tensor) -> float:
    if not low < high:
        return float("inf")
    step = (high - low) / LARGEST_INPUT
    zero_point = round(-low / step)
    rounded = ((values / step).round() + zero_point).clamp(0, LARGEST_INPUT) - zero_point
    return float(((rounded * step - values).square() * counts).sum())


@torch.no_grad()
def _observe(
    model: UpstreamModel,
    linears: Sequence[str],
    batches: Sequence[Tensor],
    observe: Callable[[str, Tensor], None],
    what: str,
) -> None:
    """Run a model on all batches, and pass the inputs of some layers to ``observe``."""
    with _observed(model, linears, observe):
        for index in tracked(range(len(batches)), what, len(batches), "batches"):
            model(batches[index])


@contextmanager
def _observed(model: UpstreamModel, linears: Sequence[str], observe: Callable[[str, Tensor], None]) -> Iterator[None]:
    def hook(path: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        return lambda _module, inputs: observe(path, inputs[0])

    handles = [model.get_submodule(path).register_forward_pre_hook(hook(path)) for path in linears]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
