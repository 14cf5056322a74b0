"""The requirements on every upstream that another package brings, one test per property."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.audio.files import SAMPLE_RATE_HZ
from bench.testing.material import utterance
from bench.upstream import weights_hash
from bench.upstream.plugins import PluginUpstream

LENGTHS = (SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ - 7, 3 * SAMPLE_RATE_HZ + 301)
"""Samples of the utterances: 1 s and two lengths that no stride divides."""


class UpstreamConformance:
    """Tests of an upstream; subclass it in a module that pytest collects.

    class TestEncoder(UpstreamConformance):
        upstream = staticmethod(make_encoder)
    """

    upstream: ClassVar[Callable[[], nn.Module]]
    """The entry of the group ``bench.upstreams``: returns the module."""
    tolerance: ClassVar[float] = 1e-4
    """Largest difference that padding may make to a valid frame, relative to the largest value of its layer. An
    upstream that normalises over time, as HuBERT Base does, needs more: say why where you set it."""

    def test_satisfies_the_contract(self) -> None:
        """It has stride, num_layers and dim, and returns hidden states and frame lengths that agree with them."""
        self._states(utterance(LENGTHS[0]))

    def test_frames_follow_the_stride(self) -> None:
        """An utterance has one frame per stride, up to what the receptive field takes at the ends."""
        upstream = self._made()
        for length in LENGTHS:
            states, (num_frames,) = self._states(utterance(length), upstream)
            assert states[0].shape[1] == num_frames, f"Expected {num_frames} frames. Found {states[0].shape[1]}."
            missing = length / upstream.stride - int(num_frames)
            most = max(3, 0.2 * SAMPLE_RATE_HZ / upstream.stride)
            assert -1 <= missing <= most, f"Expected about {length / upstream.stride:.0f} frames. Found {num_frames}."

    def test_is_deterministic(self) -> None:
        """In evaluation mode, two calls give the same states, and a copy gives them too."""
        upstream = self._made()
        first, _ = self._states(utterance(LENGTHS[0]), upstream)
        for other in (upstream, copy.deepcopy(upstream)):
            again, _ = self._states(utterance(LENGTHS[0]), other)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), "Two calls differ."

    def test_states_are_finite_float32(self) -> None:
        """Heads are trained in float32."""
        states, _ = self._states(utterance(LENGTHS[0]))
        for layer, state in enumerate(states):
            assert state.dtype == torch.float32, f"Expected float32 in layer {layer}. Found {state.dtype}."
            assert bool(state.isfinite().all()), f"Layer {layer} has values that are not finite."

    def test_padding_changes_nothing(self) -> None:
        """An utterance in a padded batch has the frames that it has alone."""
        upstream = self._made()
        waveforms = [utterance(length) for length in LENGTHS]
        batch = nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
        with torch.no_grad():
            together, num_frames = upstream(batch, torch.tensor(LENGTHS))
        for index, waveform in enumerate(waveforms):
            alone, (count,) = self._states(waveform, upstream)
            assert int(num_frames[index]) == int(count), f"Expected {count} frames. Found {num_frames[index]}."
            for layer, (a, b) in enumerate(zip(alone, together, strict=True)):
                gap = (a[0, :count] - b[index, :count]).abs().max() / a.abs().max().clamp(min=1e-9)
                assert float(gap) <= self.tolerance, f"Layer {layer}: padding changes its states by {float(gap):.1e}."

    def test_is_identified_by_its_weights(self) -> None:
        """Two instances have the same weights: results of one process are those of another."""
        assert weights_hash(self._made()) == weights_hash(self._made()), "Two instances differ. Fix the seed, or load."

    def _made(self) -> PluginUpstream:
        return PluginUpstream(type(self).upstream(), type(self).__name__)

    def _states(self, waveform: Tensor, upstream: PluginUpstream | None = None) -> tuple[list[Tensor], Any]:
        with torch.no_grad():
            states, num_frames = (upstream or self._made())(waveform[None], torch.tensor([len(waveform)]))
            return states, num_frames
