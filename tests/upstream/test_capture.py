"""The whole model as a graph: torch.export, torch.jit.trace and torch.compile, with dynamic batch and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.testing import tiny_teacher
from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.pruning import prune
from bench.upstream.random_shapes import random_model
from bench.upstream.reduction import factorised

TOLERANCE = 1e-5
Inputs = tuple[Tensor, Tensor]


def padded(num_samples: int, *lengths: int) -> Inputs:
    waveforms = 0.1 * torch.randn(len(lengths), num_samples, generator=torch.Generator().manual_seed(num_samples))
    for waveform, length in zip(waveforms, lengths, strict=True):
        waveform[length:] = 0
    return waveforms, torch.tensor(lengths)


CAPTURED = padded(6000, 6000, 6000)
"""A graph made from inputs without padding must still handle padding."""
INPUTS = (padded(1040, 1040), padded(9000, 9000, 400, 4321), padded(5123, 5123, 5123))


def low_rank(model: UpstreamModel) -> UpstreamModel:
    weights = {path: model.get_submodule(path).weight for path in model.config.linear_sizes}
    parts = {path: torch.linalg.svd(weight.detach(), full_matrices=False) for path, weight in weights.items()}
    return factorised(model, {path: (scale[:5, None] * v[:5], u[:, :5]) for path, (u, scale, v) in parts.items()})


def without_blocks(kind: str) -> UpstreamModel:
    masks = {"head/0": torch.zeros(4), "head/1": torch.tensor([1.0, 0, 0, 1]), "interm/1": torch.zeros(48)}
    masks["conv/3"] = (torch.arange(8) > 2).float()
    return prune(random_model(tiny_teacher(kind).config), masks)


def later_layers_pruned() -> UpstreamModel:
    masks = {"head/1": torch.zeros(4), "head/2": torch.tensor([0.0, 1, 1, 0]), "interm/2": torch.zeros(48)}
    return prune(random_model(tiny_teacher("wavlm").config), masks)


MODELS: dict[str, Callable[[], UpstreamModel]] = {
    "hubert": lambda: tiny_teacher("hubert"),
    "hubert-large": lambda: tiny_teacher("hubert-large"),
    "wav2vec2": lambda: random_model(uniform_config("wav2vec2", 32, 2, 4, 48, 8, positional_kernel=15)),
    "wavlm": lambda: tiny_teacher("wavlm"),
    "wavlm-large": lambda: tiny_teacher("wavlm-large"),
    "pruned hubert": lambda: without_blocks("hubert"),
    "pruned wavlm": later_layers_pruned,
    "wavlm without position bias": lambda: without_blocks("wavlm"),
    "low-rank": lambda: low_rank(tiny_teacher("hubert")),
}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "pruned wavlm"]
"""Each takes several seconds. The other model has all parts: position biases, removed blocks, pruned heads."""


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    yield
    torch.compiler.reset()


def assert_equal(captured: Callable[..., Any], model: UpstreamModel) -> None:
    with torch.no_grad():
        for inputs in INPUTS:
            states, frame_lengths = model(*inputs)
            found, found_lengths = captured(*inputs)
            assert torch.equal(found_lengths, frame_lengths)
            assert len(found) == len(states)
            for ours, theirs in zip(states, found, strict=True):
                torch.testing.assert_close(theirs, ours, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["pruned wavlm", *SLOW])
def test_export(name: str) -> None:
    model = MODELS[name]()
    dynamic = torch.export.Dim.DYNAMIC
    shapes = {"waveforms": {0: dynamic, 1: dynamic}, "lengths": {0: dynamic}}
    assert_equal(torch.export.export(model, CAPTURED, dynamic_shapes=shapes).module(), model)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", MODELS)
def test_trace(name: str) -> None:
    model = MODELS[name]()
    assert_equal(torch.jit.trace(model, CAPTURED, check_trace=False, strict=False), model)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_compile_without_graph_breaks(name: str) -> None:
    model = MODELS[name]()
    assert_equal(torch.compile(model, fullgraph=True, dynamic=True, backend="eager"), model)
