"""Scores every pair of a query and a document with each hidden state, resuming after an interruption.

Source: s3prl 0.4.18, ``downstream/quesst14_dtw/expert.py`` and its ``config.yaml``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.contracts import Upstream
from bench.progress import tracked
from bench.stopping import stop_if_requested
from tasks.corpora.queries import DOCUMENTS, QUERY_SPLITS
from tasks.feature_cache.store import FeatureStore
from tasks.spoken_search.alignment import Distance, alignment_costs, padded
from tasks.spoken_search.recordings import Batch, Recordings, samples_in

logger = logging.getLogger(__name__)

FEWEST_FRAMES = 5
"""Shorter queries have the score 0 in every document."""
LEAST_DEVIATION = 1e-9
DECIMALS = 4
"""Of a score. s3prl writes as many to the file that is scored."""
MOST_QUERY_BYTES = 2**30
"""States of queries in memory at once. More queries need more passes over the documents."""
MOST_DOCUMENT_BYTES = 2 * 2**30
"""States of documents that are kept in memory. More are computed in every pass."""


@dataclass(frozen=True)
class SearchSettings:
    """How pairs are scored."""

    distance: Distance
    most_samples: int
    """Samples of documents that are searched at once."""
    dtype: torch.dtype
    """Precision of distances and costs."""


class Search:
    """Scores pairs of queries and documents.

    Args:
        splits: ``documents``, ``dev`` and ``test``.
        upstream: in eval mode on the device.
        device: the device.
        settings: how pairs are scored.
        folder: for this search alone. It keeps what is computed.
    """

    def __init__(
        self,
        splits: Mapping[str, pd.DataFrame],
        upstream: nn.Module,
        device: str,
        settings: SearchSettings,
        folder: Path,
    ) -> None:
        self._splits = splits
        self._settings = settings
        self._store = FeatureStore(folder, {"content": "a search for spoken queries"})
        self.num_states = cast(Upstream, upstream).num_layers + 1
        self._documents = Recordings(
            DOCUMENTS, splits[DOCUMENTS], upstream, device, settings.most_samples, MOST_DOCUMENT_BYTES
        )
        self._queries = {
            split: Recordings(split, splits[split], upstream, device, samples_in(MOST_QUERY_BYTES, upstream), 0)
            for split in QUERY_SPLITS
        }

    def scores(self, split: str, states: Sequence[int]) -> dict[int, NDArray[np.float64]]:
        """Score all pairs of a split with some hidden states.

        Returns:
            Maps each state to (queries, documents). The higher, the likelier the document holds the query. Every
            query's scores have mean 0 and standard deviation 1.
        """
        moments = self._moments(split)
        costs = np.zeros((len(states), len(self._splits[split]), len(self._splits[DOCUMENTS])))
        pairs = [(one, other) for one in self._queries[split].batches for other in self._documents.batches]
        name = "_".join(map(str, states))
        missing = self._store.find([f"{one.name}+{other.name}+{name}" for one, other in pairs])
        started, num_aligned = time.monotonic(), 0
        for queries, documents in tracked(pairs, f"search {split}", len(pairs), "batches"):
            key = f"{queries.name}+{documents.name}+{name}"
            if key in missing:
                self._keep(key, self._aligned(split, queries, documents, states, moments))
                num_aligned += len(queries.rows) * len(documents.rows) * len(states)
            costs[:, np.asarray(queries.rows)[:, None], np.asarray(documents.rows)] = self._store[key].double().numpy()
        if num_aligned:
            rate = num_aligned / max(time.monotonic() - started, 1e-9)
            logger.info("search %s: %d pairs of a query and a document, %.0f per second", split, num_aligned, rate)
        return {state: _standardised(-costs[place]) for place, state in enumerate(states)}

    def _aligned(
        self, split: str, queries: Batch, documents: Batch, states: Sequence[int], moments: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return the costs (states, queries, documents) of one batch with another. Short queries cost 0."""
        mean, deviation = moments
        spoken, searched = self._queries[split].states(queries), self._documents.states(documents)
        costs = torch.zeros(len(states), len(spoken), len(searched))
        long_enough = [place for place, one in enumerate(spoken) if one.shape[1] >= FEWEST_FRAMES]
        if not long_enough:
            return costs

        def normalised(recording: Tensor, state: int) -> Tensor:
            return ((recording[state] - mean[state]) / deviation[state]).to(self._settings.dtype)

        with torch.inference_mode():
            for place, state in enumerate(states):
                found = alignment_costs(
                    [normalised(spoken[index], state) for index in long_enough],
                    padded([normalised(one, state) for one in searched]),
                    self._settings.distance,
                )
                costs = costs.to(found.dtype)
                costs[place, long_enough] = found.cpu()
        return costs

    def _moments(self, split: str) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (states, dim) over the frames of a split's queries and all documents."""
        sums = sum(
            (self._sums(part, batch) for part in (self._queries[split], self._documents) for batch in part.batches),
            start=torch.zeros(()),
        )
        count, total, squares = sums[0], sums[1], sums[2]
        variance = (squares - total.square() / count).clamp_min(0) / (count - 1).clamp_min(1)
        device = self._documents.device
        deviation = variance.sqrt().clamp_min(LEAST_DEVIATION)
        return (total / count).float().to(device), deviation.float().to(device)

    def _sums(self, part: Recordings, batch: Batch) -> Tensor:
        """Return the number of frames, their sum and the sum of their squares: (3, states, dim), float64."""
        key = f"{batch.name}+sums"
        if self._store.find([key]):
            sums = sum((_sums_of(recording) for recording in part.states(batch)), start=torch.zeros(()))
            self._keep(key, sums.cpu())
        return self._store[key]

    def _keep(self, key: str, tensor: Tensor) -> None:
        self._store.add({key: tensor.contiguous()})
        self._store.find([key])
        stop_if_requested()


def _sums_of(recording: Tensor) -> Tensor:
    frames = recording.double()
    count = torch.full_like(frames[:, 0], frames.shape[1])
    return torch.stack([count, frames.sum(dim=1), frames.square().sum(dim=1)])


def _standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale every query's scores to mean 0 and deviation 1, as precisely as s3prl writes them."""
    deviation = np.clip(scores.std(axis=1, keepdims=True), LEAST_DEVIATION, None)
    standardised: NDArray[np.float64] = np.round((scores - scores.mean(axis=1, keepdims=True)) / deviation, DECIMALS)
    return standardised
