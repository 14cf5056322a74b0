"""The whole model as a graph: torch.export, torch.jit.trace and torch.compile, with dynamic batch and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from bench.upstream import UpstreamModel
from tests.helpers.capture import MODELS, QUICKEST, padded

TOLERANCE = 1e-5
CAPTURED = padded(6000, 6000, 6000)
"""A graph made from inputs without padding must still handle padding."""
INPUTS = (padded(1040, 1040), padded(9000, 9000, 400, 4321), padded(5123, 5123, 5123))

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != QUICKEST]


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


@pytest.mark.parametrize("name", [QUICKEST, *SLOW])
def test_export(name: str) -> None:
    model = MODELS[name]()
    # With names, no guard may exclude any batch size or length. torch.export needs two frames.
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=720)
    shapes = {"waveforms": {0: batch, 1: samples}, "lengths": {0: batch}}
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
