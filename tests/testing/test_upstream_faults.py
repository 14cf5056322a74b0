"""The conformance test of upstreams finds what is wrong with one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.testing import UpstreamConformance
from tests.plugin_package.strided_upstream import StridedUpstream, make_upstream

States = tuple[list[Tensor], Tensor]


def conformance(faulty: type[nn.Module]) -> UpstreamConformance:
    class Conformance(UpstreamConformance):
        upstream = staticmethod(faulty)

    return Conformance()


class NoStride(StridedUpstream):
    stride = 0


class OneStateTooFew(StridedUpstream):
    num_layers = 2


class AnotherWidth(StridedUpstream):
    dim = 16

    def forward(self, waveforms: Tensor, lengths: Tensor) -> States:
        states, num_frames = super().forward(waveforms, lengths)
        return [state[..., :8] for state in states], num_frames


class Random(StridedUpstream):
    def forward(self, waveforms: Tensor, lengths: Tensor) -> States:
        states, num_frames = super().forward(waveforms, lengths)
        return [state + torch.rand_like(state) for state in states], num_frames


class Double(StridedUpstream):
    def forward(self, waveforms: Tensor, lengths: Tensor) -> States:
        states, num_frames = super().forward(waveforms, lengths)
        return [state.double() for state in states], num_frames


class NormalisesWithPadding(StridedUpstream):
    def forward(self, waveforms: Tensor, lengths: Tensor) -> States:
        return super().forward(waveforms / waveforms.std(dim=1, keepdim=True), lengths)


class IgnoresLengths(StridedUpstream):
    def forward(self, waveforms: Tensor, lengths: Tensor) -> States:
        return super().forward(waveforms, torch.full_like(lengths, waveforms.shape[1]))


class AnotherStride(StridedUpstream):
    stride = 320

    def __init__(self) -> None:
        super().__init__()
        self.encoder.stride = (160,)


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (NoStride, "test_satisfies_the_contract"),
        (OneStateTooFew, "test_satisfies_the_contract"),
        (AnotherWidth, "test_satisfies_the_contract"),
        (AnotherStride, "test_frames_follow_the_stride"),
        (Random, "test_is_deterministic"),
        (Double, "test_states_are_finite_float32"),
        (NormalisesWithPadding, "test_padding_changes_nothing"),
        (IgnoresLengths, "test_padding_changes_nothing"),
        (StridedUpstream, "test_is_identified_by_its_weights"),
    ],
)
def test_finds(faulty: type[nn.Module], test: str) -> None:
    with pytest.raises((AssertionError, UserError)):
        getattr(conformance(faulty), test)()


def test_a_good_one_passes() -> None:
    class Conformance(UpstreamConformance):
        upstream = staticmethod(make_upstream)

    for name in dir(Conformance):
        if name.startswith("test_"):
            getattr(Conformance(), name)()
