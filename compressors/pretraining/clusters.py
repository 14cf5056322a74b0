"""k-means over frame features, and the labels it gives, as the reference implementation's ``simple_kmeans`` does it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin
from tqdm import tqdm

from bench.audio import AudioFile
from bench.files import replacing
from bench.upstream import UpstreamConfig
from compressors.pretraining.frame_features import Features, FrameFeatures
from compressors.pretraining.units import (
    FrameUnits,
    Labels,
    count_frames,
    drawn_files,
    load_labels,
    require_frames,
    save_labels,
)

logger = logging.getLogger(__name__)

FILES_A_SHARD = 1000
"""Files whose labels are written at once: what an interruption loses at most."""


def cluster_units(
    features: FrameFeatures,
    num_units: int,
    files: Sequence[AudioFile],
    *,
    config: UpstreamConfig,
    share: float,
    seed: int,
    folder: Path,
) -> FrameUnits:
    """Find clusters on a share of the files and label all of them; what is in ``folder`` already is read.

    Args:
        features: what is clustered.
        num_units: clusters.
        files: to be labelled.
        config: of the model whose frames they are.
        share: of the files, drawn at random, on which the clusters are found.
        seed: of that choice, and of k-means.
        folder: keeps the clusters and the labels.

    Raises:
        UserError: fewer frames than clusters.
    """
    centroids = _centroids(features, num_units, files, config=config, share=share, seed=seed, folder=folder)
    labels: list[Labels] = []
    starts = range(0, len(files), FILES_A_SHARD)
    for number, start in enumerate(tqdm(starts, desc="labels", unit="shard", disable=None)):
        path = folder / f"labels-{number:05d}.npz"
        shard = files[start : start + FILES_A_SHARD]
        if not path.exists():
            save_labels(path, [nearest_units(each, centroids) for each in features.of(shard)])
        labels += load_labels(path)
    return FrameUnits({file.path: each for file, each in zip(files, labels, strict=True)}, num_units)


def nearest_units(features: Features, centroids: Features) -> Labels:
    """Return the nearest centroid of every frame, (frames,)."""
    nearest: NDArray[np.int64] = pairwise_distances_argmin(features, centroids)
    return nearest.astype(np.int16)


def _centroids(
    features: FrameFeatures,
    num_units: int,
    files: Sequence[AudioFile],
    *,
    config: UpstreamConfig,
    share: float,
    seed: int,
    folder: Path,
) -> Features:
    path = folder / "centroids.npy"
    if path.exists():
        stored: Features = np.load(path, allow_pickle=False)
        return stored
    sample = drawn_files(files, share, seed)
    require_frames(sample, num_units, config)
    num_frames = count_frames(sample, config)
    logger.info("finding %d clusters in %d frames of %d files", num_units, num_frames, len(sample))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        # On disk, for hours of a wide model's features are more than the memory holds.
        gathered = np.memmap(file, np.float32, "w+", shape=(num_frames, features.dim))
        filled = 0
        for each in tqdm(features.of(sample), desc="features", total=len(sample), unit="file", disable=None):
            gathered[filled : filled + len(each)] = each
            filled += len(each)
        centroids = fitted_centroids(gathered[:filled], num_units, seed)
    with replacing(path) as temporary, temporary.open("wb") as written:
        np.save(written, centroids)
    return centroids


def fitted_centroids(features: Features, num_units: int, seed: int) -> Features:
    """Find clusters, (units, dim).

    Source: HuBERT section IV-B (k-means++ with 20 random starts, mini-batches of 10,000 frames), and the options of the
    reference implementation.
    """
    kmeans = MiniBatchKMeans(
        num_units,
        init="k-means++",
        max_iter=100,
        batch_size=10_000,
        compute_labels=False,
        random_state=seed,
        tol=0.0,
        max_no_improvement=100,
        n_init=20,
        reassignment_ratio=0.0,
    )
    centroids: Features = kmeans.fit(features).cluster_centers_.astype(np.float32)
    return centroids
