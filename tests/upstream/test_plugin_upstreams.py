"""Upstreams that this project did not write."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.profiling.measured_macs import measured_macs
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.cost import count_macs, superb_macs
from bench.upstream.plugins import PluginUpstream, refer_to
from tests.plugin_package.strided_upstream import StridedUpstream, make_upstream


def test_a_module_of_this_process_is_found_by_its_reference() -> None:
    module = make_upstream()
    upstream = load_upstream(refer_to(module, "mine"))
    waveforms, lengths = torch.randn(2, 16_000), torch.tensor([16_000, 9_000])
    states, num_frames = upstream(waveforms, lengths)
    expected, expected_frames = module(waveforms, lengths)
    assert all(torch.equal(a, b) for a, b in zip(states, expected, strict=True))
    assert torch.equal(num_frames, expected_frames)
    with pytest.raises(UserError, match="python:other"):
        load_upstream("python:other")


def test_runs_work_on_a_copy() -> None:
    module = make_upstream()
    copied = load_upstream(refer_to(module, "mine"))
    with torch.no_grad():
        next(copied.parameters()).zero_()
    assert next(module.parameters()).any()


def test_outputs_are_checked() -> None:
    class Tuple(StridedUpstream):
        def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(waveforms, lengths)[0][0]

    with pytest.raises(UserError, match="frame lengths"):
        PluginUpstream(Tuple(), "mine")(torch.zeros(1, 16_000))


@pytest.mark.parametrize("output", [([None], torch.ones(1)), ([torch.zeros(1, 2, 3)], [2]), ([], None), None, ([1], 2)])
def test_outputs_that_are_no_tensors_are_named(output: object) -> None:
    class Other(StridedUpstream):
        def forward(self, waveforms: Tensor, lengths: Tensor) -> object:  # type: ignore[override]
            return output

    with pytest.raises(UserError, match="Expected the upstream mine to return"):
        PluginUpstream(Other(), "mine")(torch.zeros(1, 16_000))


def test_the_module_is_checked() -> None:
    with pytest.raises(UserError, match="stride"):
        PluginUpstream(nn.Linear(2, 2), "mine")


def test_macs_are_counted_as_those_of_our_own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    # One length in place of SUPERB's 32, for speed.
    monkeypatch.setattr("bench.profiling.measured_macs.ALL_SUPERB_LENGTHS", (32_000,))
    model = load_upstream("mini-hubert")
    assert isinstance(model, UpstreamModel)
    assert measured_macs(PluginUpstream(model, "mine")) == count_macs(model.config, 32_000)
    assert superb_macs(model.config).macs > count_macs(model.config, 32_000)
