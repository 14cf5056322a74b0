"""How long the parts of a model take on this machine, as a function of the units and ranks that they keep.

A table of timings gives each part a fixed time and a time per unit, fitted with coefficients of at least 0. So latency
is a sum over layers, as parameters and MACs are. It can be counted for any shape without building the model, and for
the expected units of gates.

Source: Once-for-All (arXiv 1908.09791) and NetAdapt (arXiv 1804.03230), for tables of measured layers instead of MACs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.audio.files import SAMPLE_RATE_HZ
from bench.cache_folder import cache_root
from bench.contracts import Settings
from bench.files.sealed import read_sealed_json, write_sealed_json
from bench.upstream import UpstreamConfig
from bench.upstream.cost import Units, kept_units
from bench.upstream.model import ConvLayer, FeatureProjection, FeedForward, PositionalConvolution, TransformerLayer
from bench.upstream.random_shapes import random_model
from bench.upstream.reduced_linears import LowRankLinear

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

TABLE_VERSION = 1
"""Version of the measurement. Raise it to ignore stored tables."""
DURATION_S = 4.0
"""Length of the utterance that is timed."""
REPEATS = 5
"""Repetitions of each timing. The fastest counts: other work on the machine only makes them slower."""
SHARES = (1.0, 0.5, 0.125)
"""Widths and ranks that are timed, as shares of the whole."""


class LatencyTable(Settings):
    """Times of a model's parts in nanoseconds, for one utterance of `DURATION_S` on one thread."""

    convolutions: tuple[tuple[float, float, float], ...]
    """By convolution: fixed, per output channel, and per pair of input and output channels."""
    projection: tuple[float, float]
    """Of the feature projection: fixed, and per input channel."""
    attention: tuple[float, float]
    """Of a block: fixed, and per head."""
    feed_forward: tuple[float, float]
    """Of a block: fixed, and per unit."""
    rest: float
    """Of everything that has no units: the positional convolution and the norms of all layers."""
    linears: dict[str, tuple[float, float, float]]
    """By ``<inputs>x<outputs>``: a dense layer, a low-rank one without its ranks, and per rank."""

    def of(self, config: UpstreamConfig) -> int:
        """Return the latency of a model of this shape in nanoseconds. Low-rank layers must be of a measured size."""
        saved = 0.0
        for path, reduced in config.reduced_linears:
            if reduced.rank is not None:
                inputs, outputs = config.linear_sizes[path]
                saved += self.saving(inputs, outputs, reduced.rank)
        return round(float(self.of_units(kept_units(config))) - saved)

    def of_units(self, units: Units) -> Tensor:
        """Return the latency of a model with these units, all linear layers dense. Differentiable.

        Args:
            units: as in `bench.upstream.cost.macs_of_units`.
        """
        conv, heads, inner, attention, feed_forward = (
            _vector(units[kind]) for kind in ("conv", "head", "interm", "attlayer", "ffnlayer")
        )
        fixed, per_output, per_pair = torch.tensor(self.convolutions, dtype=conv.dtype, device=conv.device).T
        inputs = torch.cat([conv.new_ones(1), conv[:-1]])
        total = (fixed + per_output * conv + per_pair * inputs * conv).sum()
        total = total + self.projection[0] + self.projection[1] * conv[-1] + self.rest
        blocks = attention * (self.attention[0] + self.attention[1] * heads)
        blocks = blocks + feed_forward * (self.feed_forward[0] + self.feed_forward[1] * inner)
        latency: Tensor = total + blocks.sum()
        return latency

    def saving(self, inputs: int, outputs: int, rank: int) -> float:
        """Return how much faster a layer is at a rank than dense, in nanoseconds; negative if it is slower."""
        dense, fixed, per_rank = self.linears[f"{inputs}x{outputs}"]
        return dense - fixed - per_rank * rank


@lru_cache(maxsize=8)
def latency_table(shape: UpstreamConfig) -> LatencyTable:
    """Measure a teacher's parts, or read the table of an earlier call on this machine.

    Args:
        shape: shape of the teacher, with dense layers.
    """
    identity = {
        "version": TABLE_VERSION,
        "machine": [platform.node(), platform.machine(), platform.processor()],
        "torch": torch.__version__,
        "shape": json.loads(shape.model_dump_json(exclude={"dropout"})),
    }
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:40]
    path = cache_root() / "latency" / f"{name}.json"
    stored = read_sealed_json(path)
    if stored is None:
        logger.info("timing the layers of the teacher on this machine, one thread, %g s of audio", DURATION_S)
        stored = measured_table(shape).model_dump(mode="json")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed_json(path, stored)
    table = LatencyTable.model_validate(stored)
    logger.info("the teacher takes %.1f ms for %g s of audio", table.of(shape) / 1e6, DURATION_S)
    return table


def measured_table(shape: UpstreamConfig) -> LatencyTable:
    """Time the parts of a model of this shape."""
    with _one_thread(), torch.inference_mode():
        frames = shape.num_frames(round(DURATION_S * SAMPLE_RATE_HZ))
        hidden = torch.randn(1, frames, shape.dim)
        rest = _time(PositionalConvolution(shape), hidden)
        rest += 2 * shape.num_layers * _time(nn.LayerNorm(shape.dim), hidden)
        parts = LatencyTable(
            convolutions=_convolutions(shape),
            projection=_projection(shape, frames),
            attention=_attention(shape, hidden),
            feed_forward=_feed_forward(shape, hidden),
            rest=rest,
            linears=_linears(shape, frames),
        )
        return _calibrated(parts, shape)


def _calibrated(parts: LatencyTable, shape: UpstreamConfig) -> LatencyTable:
    """Scale the times of parts so that they add up to those of the whole model.

    A part that is timed alone finds its inputs in the cache. In the whole model it often does not.
    """
    # Imported weights would do as well, but uninitialised ones may be denormal numbers, which are slow.
    model = random_model(shape.model_copy(update={"reduced_linears": ()}), seed=0).eval()
    waveform = torch.randn(1, round(DURATION_S * SAMPLE_RATE_HZ))
    features, _ = model.extract(waveform)
    extractor = _time(model.extract, waveform)
    transformer = _time(lambda inputs: model.contextualise(model.project(inputs)), features)
    channels = [1, *(conv.channels for conv in shape.conv_layers)]
    convolutions = sum(
        fixed + per_output * outputs + per_pair * inputs * outputs
        for (fixed, per_output, per_pair), inputs, outputs in zip(
            parts.convolutions, channels[:-1], channels[1:], strict=True
        )
    )
    whole = float(parts.of_units(kept_units(shape)))
    before, after = extractor / convolutions, transformer / (whole - convolutions)
    return LatencyTable(
        convolutions=tuple((before * one, before * two, before * three) for one, two, three in parts.convolutions),
        projection=(after * parts.projection[0], after * parts.projection[1]),
        attention=(after * parts.attention[0], after * parts.attention[1]),
        feed_forward=(after * parts.feed_forward[0], after * parts.feed_forward[1]),
        rest=after * parts.rest,
        linears={size: (after * one, after * two, after * three) for size, (one, two, three) in parts.linears.items()},
    )


def _convolutions(shape: UpstreamConfig) -> tuple[tuple[float, float, float], ...]:
    fitted = []
    samples, whole_inputs = round(DURATION_S * SAMPLE_RATE_HZ), 1
    for index, conv in enumerate(shape.conv_layers):
        rows, times = [], []
        for inputs in _widths(whole_inputs)[:2]:
            for outputs in _widths(conv.channels)[:2]:
                layer = ConvLayer(
                    inputs, conv.model_copy(update={"channels": outputs}), shape, is_first=index == 0
                ).eval()
                rows.append((1.0, outputs, inputs * outputs))
                times.append(_time(layer, torch.randn(1, inputs, samples)))
        fitted.append(_fitted(rows, times))
        samples, whole_inputs = (samples - conv.kernel) // conv.stride + 1, conv.channels
    return tuple((one, two, three) for one, two, three in fitted)


def _projection(shape: UpstreamConfig, frames: int) -> tuple[float, float]:
    rows, times = [], []
    last = shape.conv_layers[-1]
    for channels in _widths(last.channels):
        convs = (*shape.conv_layers[:-1], last.model_copy(update={"channels": channels}))
        layer = FeatureProjection(shape.model_copy(update={"conv_layers": convs})).eval()
        rows.append((1.0, channels))
        times.append(_time(layer, torch.randn(1, frames, channels)))
    return _pair(rows, times)


def _attention(shape: UpstreamConfig, hidden: Tensor) -> tuple[float, float]:
    layers = [layer for layer in shape.layers if layer.heads]
    if not layers:
        return 0.0, 0.0
    widest = max(layers, key=lambda layer: len(layer.heads))
    rows, times = [], []
    position = shape.relative_position
    frames = hidden.shape[1]
    bias = torch.randn(shape.total_heads, frames, frames) if position and position.has_embedding else None
    for heads in _widths(len(widest.heads)):
        kept = widest.model_copy(update={"heads": widest.heads[:heads]})
        block: Any = TransformerLayer(shape, kept).eval().attention
        rows.append((1.0, heads))
        times.append(_time(partial(block, key_mask=None, position_bias=bias), hidden))
    return _pair(rows, times)


def _feed_forward(shape: UpstreamConfig, hidden: Tensor) -> tuple[float, float]:
    widest = max((layer.feed_forward for layer in shape.layers), default=0)
    rows, times = [], []
    for width in _widths(widest):
        rows.append((1.0, width))
        times.append(_time(FeedForward(shape, width).eval(), hidden))
    return _pair(rows, times) if rows else (0.0, 0.0)


def _linears(shape: UpstreamConfig, frames: int) -> dict[str, tuple[float, float, float]]:
    table = {}
    for inputs, outputs in sorted(set(shape.linear_sizes.values())):
        features = torch.randn(1, frames, inputs)
        rows, times = [], []
        for rank in _widths(min(inputs, outputs)):
            layer = LowRankLinear(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))
            rows.append((1.0, rank))
            times.append(_time(layer, features))
        table[f"{inputs}x{outputs}"] = (_time(nn.Linear(inputs, outputs), features), *_pair(rows, times))
    return table


def _widths(whole: int) -> list[int]:
    """Return the widths to time, the widest first."""
    return sorted({max(round(share * whole), 1) for share in SHARES}, reverse=True) if whole else []


def _pair(rows: Sequence[Sequence[float]], times: Sequence[float]) -> tuple[float, float]:
    fixed, per_unit = _fitted(rows, times)
    return fixed, per_unit


def _fitted(rows: Sequence[Sequence[float]], times: Sequence[float]) -> list[float]:
    """Fit coefficients of at least 0 to times, with the same relative error for fast and slow parts."""
    from scipy.optimize import nnls  # Imported here: scipy takes a second to import.

    weights = 1 / np.maximum(np.asarray(times, float), 1.0)
    coefficients, _ = nnls(np.asarray(rows, float) * weights[:, None], np.asarray(times, float) * weights)
    found: list[float] = coefficients.tolist()
    return found


def _time(part: Callable[[Tensor], Any], inputs: Tensor) -> float:
    """Return the nanoseconds of this thread's CPU time that a call takes: the fewest of several."""
    part(inputs)
    times = []
    for _ in range(REPEATS):
        started = time.thread_time_ns()
        part(inputs)
        times.append(time.thread_time_ns() - started)
    return float(min(times))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # Timings must not change what the compression draws.
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _vector(counts: Sequence[int] | Tensor) -> Tensor:
    return counts if isinstance(counts, Tensor) else torch.tensor(counts, dtype=torch.float64)
