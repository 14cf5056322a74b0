"""Random masks of spans of frames."""

from __future__ import annotations

import torch
from torch import Tensor


def span_mask(batch: int, num_frames: int, *, span: int, start_probability: float) -> Tensor:
    """Mask random spans of frames; spans may overlap.

    Every utterance gets the same number of spans, at distinct random starts. No span crosses the end. The random
    numbers come from torch's CPU generator.

    Args:
        batch: number of utterances.
        num_frames: frames of each utterance.
        span: length of a span, in frames. A shorter utterance is one span.
        start_probability: share of the frames at which a span starts.

    Returns:
        (batch, num_frames) bool on the CPU, True if masked, with at least one span per utterance.

    Source: wav2vec 2.0 (arXiv 2006.11477) section 3.1 and HuBERT (arXiv 2106.07447) section II-B; the number of spans
    is rounded at random, as in the reference implementation.
    """
    span = min(span, num_frames)
    num_starts = num_frames - span + 1
    wanted = int(start_probability * num_frames + torch.rand(()).item())
    num_spans = min(max(wanted, 1), num_starts)
    starts = torch.rand(batch, num_starts).topk(num_spans, dim=1).indices  # (batch, spans)
    frames = (starts[:, :, None] + torch.arange(span)).flatten(1)
    return torch.zeros(batch, num_frames, dtype=torch.bool).scatter(1, frames, True)
