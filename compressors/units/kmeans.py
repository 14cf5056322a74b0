"""Mini-batch k-means that stores its state, and resumes from it as if never interrupted.

Source: Sculley, Web-scale k-means clustering (WWW 2010). Random numbers and stopping rule are those of scikit-learn's
``MiniBatchKMeans``, with the options of HuBERT's reference implementation.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin_min

from bench.files.sealed import read_sealed, write_sealed
from bench.progress import Progress
from compressors.units.frame_features import Features

BATCH_FRAMES = 10_000
NUM_STARTS = 20
"""Random starts. The best one is used."""
MAX_EPOCHS = 100
MAX_STEPS_WITHOUT_IMPROVEMENT = 100
SECONDS_BETWEEN_SAVES = 5.0


@dataclass
class State:
    """Everything that the next step depends on except the features."""

    centroids: Features
    """(units, dim), of the best start so far."""
    counts: NDArray[np.float64]
    """Number of frames of each cluster so far, (units,)."""
    validation: NDArray[np.int64]
    """Frames on which starts are compared."""
    random_keys: NDArray[np.uint32]
    random_position: int
    starts: int = 0
    steps: int = 0
    start_inertia: float = np.inf
    mean_inertia: float = np.nan
    """Exponentially weighted mean over steps."""
    best_inertia: float = np.inf
    steps_without_improvement: int = 0

    def random(self) -> np.random.RandomState:
        """Return the generator in its stored state."""
        generator = np.random.RandomState()
        generator.set_state(("MT19937", self.random_keys, self.random_position, 0, 0.0))
        return generator

    def keep_random(self, generator: np.random.RandomState) -> None:
        """Store the state of the generator."""
        state = cast("tuple[str, NDArray[np.uint32], int, int, float]", generator.get_state())
        self.random_keys, self.random_position = state[1], state[2]


def fitted_centroids(features: Features, num_units: int, seed: int, path: Path | None = None) -> Features:
    """Find clusters, (units, dim).

    Source: HuBERT section IV-B (k-means++ with 20 random starts, mini-batches of 10,000 frames), and the options of the
    reference implementation.

    Args:
        features: (frames, dim), with at least as many frames as clusters.
        num_units: number of clusters.
        seed: seed of starts and batches.
        path: file of the state, to resume an interrupted call. None: the state is not stored.
    """
    state = (_read(path) if path else None) or _begin(features, num_units, seed)
    progress = Progress("clusters: random starts", NUM_STARTS, done=state.starts)
    saved = time.monotonic()
    while _advance(state, features, num_units):
        progress.show(state.starts)
        if path and time.monotonic() - saved >= SECONDS_BETWEEN_SAVES:
            _write(path, state)
            saved = time.monotonic()
    progress.close()
    return state.centroids.astype(np.float32)


def rows_of(features: Features, indices: NDArray[np.int64]) -> Features:
    """Return rows in the order of ``indices``. They are read in the order of the file, if the features are in one."""
    order = np.argsort(indices, kind="stable")
    rows = np.empty((len(indices), features.shape[1]), features.dtype)
    rows[order] = features[indices[order]]
    return rows


def _advance(state: State, features: Features, num_units: int) -> bool:
    """Do the next start or step. Return False if there is none."""
    if state.starts < NUM_STARTS:
        _start(state, features, num_units)
        return True
    if state.steps >= MAX_EPOCHS * len(features) // _batch_size(features):
        return False
    if state.steps_without_improvement >= MAX_STEPS_WITHOUT_IMPROVEMENT:
        return False
    _step(state, features)
    return True


def _batch_size(features: Features) -> int:
    return min(BATCH_FRAMES, len(features))


def _begin(features: Features, num_units: int, seed: int) -> State:
    generator = np.random.RandomState(seed)
    validation = generator.randint(0, len(features), _frames_to_start(features, num_units))
    nothing = np.zeros((num_units, features.shape[1]), features.dtype)
    state = State(nothing, np.zeros(num_units), validation, np.zeros(0, np.uint32), 0)
    state.keep_random(generator)
    return state


def _frames_to_start(features: Features, num_units: int) -> int:
    wanted = 3 * _batch_size(features)
    return min(3 * num_units if wanted < num_units else wanted, len(features))


def _start(state: State, features: Features, num_units: int) -> None:
    """Try another random start."""
    generator = state.random()
    sample = features
    wanted = _frames_to_start(features, num_units)
    if wanted < len(features):
        sample = rows_of(features, generator.randint(0, len(features), wanted))
    centroids, _ = kmeans_plusplus(sample, num_units, random_state=generator)
    _, distances = pairwise_distances_argmin_min(rows_of(features, state.validation), centroids, metric="sqeuclidean")
    inertia = float(distances.sum(dtype=np.float64))
    if inertia < state.start_inertia:
        state.centroids, state.start_inertia = np.asarray(centroids, features.dtype), inertia
    state.starts += 1
    state.keep_random(generator)


def _step(state: State, features: Features) -> None:
    """Move the centroids by one mini-batch."""
    generator = state.random()
    batch_size = _batch_size(features)
    batch = rows_of(features, (generator.random_sample(batch_size) * len(features)).astype(np.int64))
    labels, distances = pairwise_distances_argmin_min(batch, state.centroids, metric="sqeuclidean")
    _monitor(state, float(distances.sum(dtype=np.float64)) / batch_size, batch_size * 2.0 / (len(features) + 1))
    members_count = np.bincount(labels, minlength=len(state.counts))
    members = csr_array((np.ones(batch_size), (labels, np.arange(batch_size))), (len(state.counts), batch_size))
    sums = members @ batch.astype(np.float64)
    counts = state.counts + members_count
    moved = (state.centroids * state.counts[:, None] + sums) / np.maximum(counts, 1)[:, None]
    state.centroids = np.where(members_count[:, None] > 0, moved, state.centroids).astype(features.dtype)
    state.counts = counts
    state.steps += 1
    state.keep_random(generator)


def _monitor(state: State, inertia: float, weight: float) -> None:
    if state.steps == 0:
        return  # This is the inertia of the random start.
    weight = min(weight, 1.0)
    first = np.isnan(state.mean_inertia)
    state.mean_inertia = inertia if first else state.mean_inertia * (1 - weight) + inertia * weight
    if state.mean_inertia < state.best_inertia:
        state.best_inertia, state.steps_without_improvement = state.mean_inertia, 0
    else:
        state.steps_without_improvement += 1


def _read(path: Path) -> State | None:
    content = read_sealed(path)
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        values: dict[str, Any] = {key: value if value.ndim else value.item() for key, value in arrays.items()}
    return State(**values)


def _write(path: Path, state: State) -> None:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **vars(state))
    write_sealed(path, content.getvalue())
