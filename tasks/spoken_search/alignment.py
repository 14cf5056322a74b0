"""Cost of the best alignment of a query with any part of a document: subsequence DTW, many pairs at once.

Source: s3prl 0.4.18, ``downstream/quesst14_dtw``, which aligns each pair with the package dtw-python: step pattern
``asymmetric``, open begin and open end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

Distance = Literal["cosine_exp", "cosine"]
"""Between two frames: ``exp(1 - cosine) - 1``, or ``1 - cosine``."""

MOST_CELLS = {"cpu": 2**22, "cuda": 2**27}
"""Pairs of frames whose distances are in memory at once, by type of device."""
LEAST_RANGE = 1e-9


def padded(documents: Sequence[Tensor]) -> Tensor:
    """Stack documents (frames, dim) to (documents, frames, dim), repeating each one's last frame.

    The repeated frames do not change the cost of an alignment: the minimum and maximum of every row stay, and an
    alignment that ends in a repetition costs as much as one that stays in the last frame.
    """
    longest = max(len(document) for document in documents)
    return torch.stack(
        [torch.cat([one, one[-1:].expand(longest - len(one), -1)]) if len(one) < longest else one for one in documents]
    )


def alignment_costs(queries: Sequence[Tensor], documents: Tensor, distance: Distance) -> Tensor:
    """Return the cost per query frame of the best alignment of every query with every document.

    Every row of distances, from one query frame to all frames of a document, is scaled to the range of 0 to 1. Every
    query frame is aligned with one document frame, at most two frames after that of the query frame before it.

    Args:
        queries: each (frames, dim), of similar lengths.
        documents: (documents, frames, dim), see `padded`.
        distance: between frames.

    Returns:
        (queries, documents).
    """
    num_documents, num_frames, _ = documents.shape
    document_frames = normalize(documents, dim=-1).flatten(0, 1)
    costs = []
    for batch in _batches(queries, num_documents * num_frames, MOST_CELLS[documents.device.type]):
        lengths = torch.tensor([len(query) for query in batch], device=documents.device)
        frames = normalize(torch.nn.utils.rnn.pad_sequence(list(batch), batch_first=True), dim=-1)
        cells = 1 - frames.flatten(0, 1) @ document_frames.T
        if distance == "cosine_exp":
            cells = cells.expm1_()
        cells = cells.view(len(batch), -1, num_documents, num_frames)
        lowest, highest = cells.aminmax(dim=-1, keepdim=True)
        cells = cells.sub_(lowest).div_((highest - lowest).clamp_min_(LEAST_RANGE))
        costs.append(_least_totals(cells, lengths) / lengths[:, None])
    return torch.cat(costs)


def _batches(queries: Sequence[Tensor], cells_per_frame: int, most_cells: int) -> Iterator[Sequence[Tensor]]:
    begin, longest = 0, 0
    for index, query in enumerate(queries):
        longest = max(longest, len(query))
        if index > begin and (index + 1 - begin) * longest * cells_per_frame > most_cells:
            yield queries[begin:index]
            begin, longest = index, len(query)
    if queries:
        yield queries[begin:]


def _least_totals(cells: Tensor, lengths: Tensor) -> Tensor:
    """Return the least total cost of every pair (queries, documents).

    Args:
        cells: (queries, query frames, documents, document frames).
        lengths: (queries,), frames of each query.
    """
    totals = cells[:, 0]
    least = totals.amin(dim=-1)
    for frame in range(1, cells.shape[1]):
        earlier = pad(totals, (2, 0), value=torch.inf)
        step = torch.minimum(earlier[..., 1:-1], earlier[..., :-2])
        totals = torch.minimum(totals, step, out=step).add_(cells[:, frame])
        least = torch.where((lengths > frame)[:, None], totals.amin(dim=-1), least)
    return least
