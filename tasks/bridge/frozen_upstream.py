"""Wraps an upstream for s3prl's recipes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Upstream
from bench.errors import UserError
from bench.stopwatch import measuring
from tasks.bridge import s3prl_compat

s3prl_compat.install()
from s3prl.nn.upstream import MIN_SECOND, S3PRLUpstream  # noqa: E402


class FrozenUpstream(S3PRLUpstream):  # type: ignore[misc]
    """Gives an upstream s3prl's length rule: the last frame is repeated up to one frame per started stride.

    The upstream is not a submodule, so neither the optimizer nor checkpoints hold it.
    """

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        upstream = cast(Upstream, module)
        num_states = upstream.num_layers + 1
        self.normalize = False
        self.upstream = functools.partial(_hidden_states, upstream)
        self._num_layers = num_states
        self._hidden_sizes = [upstream.dim] * num_states
        self._downsample_rates = [upstream.stride] * num_states


def _hidden_states(upstream: Upstream, waveforms: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    batch = pad_sequence(list(waveforms), batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    # s3prl pads a batch that is too short for the convolutions. A short utterance in a longer batch needs it too.
    _finish(batch)  # What the head has queued on a GPU is not the upstream's time.
    with measuring("upstream"):
        states, _ = upstream(batch, lengths.clamp(min=min(round(MIN_SECOND * SAMPLE_RATE_HZ), batch.shape[1])))
        is_finite = bool(torch.isfinite(states[-1]).all())  # Waits for a GPU.
    if not is_finite:
        raise UserError(
            "Expected finite hidden states. The upstream returned NaN or infinity on finite audio. "
            "Its weights are unusable: compress or convert it again."
        )
    return {"hidden_states": states}


def _finish(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
