"""Counted and measured cost of every layer, to find layers that are slower than their MACs suggest."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Settings
from bench.errors import UserError
from bench.profiling.counts import meta_model
from bench.profiling.subjects import Subject
from bench.profiling.timing import clock, spread, threads, time_in_turn
from bench.profiling.workloads import Effort, Lengths, utterances
from bench.store.latency import Spread
from bench.text import shortened
from bench.upstream import UpstreamConfig, UpstreamModel, load_upstream, reference_config
from bench.upstream.onnx_file import is_onnx

logger = logging.getLogger(__name__)

Repeated: TypeAlias = "NDArray[np.float64]"
"""One figure per repeat."""

REST = "rest"
"""Everything outside the table's layers: the transformer's LayerNorms and residual sums, WavLM's position bias."""
ALL = "all"
"""The whole model."""


class LayerCost(Settings):
    """The cost of one layer."""

    params: int
    """Trainable."""
    macs: int
    """Plain count over the timed lengths."""
    ms: Spread
    """Milliseconds over the timed lengths, at batch 1 on the CPU with one thread."""


class ComparedLayer(Settings):
    """One layer of a model, and of its teacher."""

    layer: str
    """``conv 1``, .., ``projection``, ``positional convolution``, ``1 attention``, ``1 feed-forward``, .., ``rest``,
    ``all``: layers count from 1, as in papers."""
    model: LayerCost | None
    """None if compression removed it."""
    teacher: LayerCost | None
    """None if there is no teacher, or it has no such layer."""

    @property
    def promised_speedup(self) -> float | None:
        """The teacher's MACs divided by the model's. None if either has none."""
        if self.model is None or self.teacher is None or not (self.model.macs and self.teacher.macs):
            return None
        return self.teacher.macs / self.model.macs

    @property
    def measured_speedup(self) -> float | None:
        """The teacher's time divided by the model's."""
        return self.teacher.ms.median / self.model.ms.median if self.model and self.teacher else None


class LayerComparison(Settings):
    """All layers of a model and its teacher."""

    model: str
    """Its name."""
    teacher: str | None
    """Reference of the teacher."""
    layers: tuple[ComparedLayer, ...]
    """In the order of the data, then ``rest`` and ``all``."""


def layers_of(subjects: Sequence[Subject], effort: Effort) -> dict[str, LayerComparison]:
    """Measure models by layer, each alternating with its teacher. Teachers of other models get no entry of their own.

    Returns:
        Maps the model's name to its layers.

    Raises:
        UserError: none of the models has layers, or a teacher has none.
    """
    teachers = {subject.teacher for subject in subjects}
    wanted = [subject for subject in subjects if subject.reference not in teachers]
    with_layers = [subject for subject in wanted if _has_layers(subject.reference)]
    if not with_layers:
        names = shortened(", ".join(subject.name for subject in subjects), 120)
        raise UserError(
            f"--by-layer: none of the models has layers that torch runs. Found {names}. Name a model that has, "
            "or leave --by-layer out."
        )
    return {subject.name: _compare(subject, effort) for subject in with_layers}


def _compare(subject: Subject, effort: Effort) -> LayerComparison:
    logger.info("timing the layers of %s", subject.name)
    references = [subject.reference, *([subject.teacher] if subject.teacher else [])]
    models = [_with_layers(reference) for reference in references]
    batches = utterances(effort.lengths())
    with threads(1):
        watches = [_Stopwatch(model) for model in models]
        times = time_in_turn(models, batches, effort.limits())
    costs = [
        _costs(model, watch.milliseconds(len(batches)), 1e3 * own.rounds(), effort.lengths())
        for model, watch, own in zip(models, watches, times, strict=True)
    ]
    own, others = costs[0], costs[1] if subject.teacher else {}
    names = sorted(own.keys() | others.keys(), key=_place)
    return LayerComparison(
        model=subject.name,
        teacher=subject.teacher,
        layers=tuple(ComparedLayer(layer=name, model=own.get(name), teacher=others.get(name)) for name in names),
    )


def layer_modules(model: UpstreamModel) -> dict[str, tuple[str, nn.Module]]:
    """Name the layers of a model, from 1: each with its module and the path of it."""
    found: dict[str, str] = {
        f"conv {i + 1}": f"feature_extractor.conv_layers.{i}" for i in range(len(model.config.conv_layers))
    }
    found["projection"] = "feature_projection"
    found["positional convolution"] = "positional_convolution"
    for index, layer in enumerate(model.config.layers):
        if layer.heads:
            found[f"{index + 1} attention"] = f"layers.{index}.attention"
        if layer.feed_forward:
            found[f"{index + 1} feed-forward"] = f"layers.{index}.feed_forward"
    return {name: (path, model.get_submodule(path)) for name, path in found.items()}


class _Stopwatch:
    """Times every call of every layer."""

    def __init__(self, model: UpstreamModel) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._clock = clock(torch.device("cpu"))
        self._started = 0.0
        for name, (_, module) in layer_modules(model).items():
            module.register_forward_pre_hook(self._start)
            module.register_forward_hook(partial(self._stop, name))

    def milliseconds(self, num_batches: int) -> dict[str, Repeated]:
        """Return each layer's time over all batches, (repeats,), without the warm-up."""
        return {
            name: 1e3 * np.array(seconds).reshape(-1, num_batches).sum(axis=1)[1:]
            for name, seconds in self.seconds.items()
        }

    def _start(self, *_: Any) -> None:
        self._started = self._clock()

    def _stop(self, name: str, *_: Any) -> None:
        self.seconds[name].append(self._clock() - self._started)


def _has_layers(reference: str) -> bool:
    return not is_onnx(reference) and reference_config(reference) is not None


def _with_layers(reference: str) -> UpstreamModel:
    model = None if is_onnx(reference) else load_upstream(reference)
    if not isinstance(model, UpstreamModel):
        raise UserError(f"--by-layer: {reference} has no layers. Name a model that has, or leave --by-layer out.")
    return model


def _costs(
    model: UpstreamModel, milliseconds: dict[str, Repeated], whole_ms: Repeated, lengths: Lengths
) -> dict[str, LayerCost]:
    macs, total_macs = _macs(model.config, lengths)
    params = {name: _num_parameters(module) for name, (_, module) in layer_modules(model).items()}
    layers = {name: LayerCost(params=params[name], macs=macs[name], ms=spread(milliseconds[name])) for name in params}
    layers[REST] = LayerCost(
        params=_num_parameters(model) - sum(params.values()),
        macs=total_macs - sum(macs.values()),
        ms=spread(whole_ms - sum(milliseconds.values())),
    )
    layers[ALL] = LayerCost(params=_num_parameters(model), macs=total_macs, ms=spread(whole_ms))
    return layers


def _macs(config: UpstreamConfig, lengths: Lengths) -> tuple[dict[str, int], int]:
    """Count the MACs of every layer, and of the whole model."""
    model = meta_model(config)
    # Nothing is computed on the meta device, and fused attention counts like its parts.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for waveforms in utterances(lengths, "meta"):
            model(waveforms)
    flops = counter.get_flop_counts()
    root = type(model).__name__
    by_layer = {name: sum(flops[f"{root}.{path}"].values()) // 2 for name, (path, _) in layer_modules(model).items()}
    return by_layer, counter.get_total_flops() // 2


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _place(name: str) -> tuple[int, int, str]:
    """Sort layers in the order of the data."""
    first, _, second = name.partition(" ")
    if first == "conv":
        return (0, int(second), "")
    if first.isdecimal():
        return (2, int(first), second)
    return {"projection": (1, 0, ""), "positional": (1, 1, ""), REST: (3, 0, ""), ALL: (4, 0, "")}[first]
