"""k-means over frame features, and the labels of all frames, as in the reference implementation's ``simple_kmeans``."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.audio.files import AudioFile
from bench.files.sealed import read_sealed, write_sealed
from bench.progress import tracked
from bench.upstream import UpstreamConfig
from compressors.units.frame_features import Features, FrameFeatures
from compressors.units.gathering import GatheredFeatures
from compressors.units.kmeans import fitted_centroids
from compressors.units.labels import (
    FrameUnits,
    Labels,
    count_frames,
    drawn_files,
    load_labels,
    require_frames,
    save_labels,
)

logger = logging.getLogger(__name__)

SECONDS_A_SHARD = 5.0
"""Seconds between two writes of finished labels. An interruption loses at most this, or one file."""
FRAMES_A_BATCH = 16_384
"""Frames that are labelled together, give or take a file: 0.1 GB at HuBERT Base's width."""


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
    """Find clusters on a share of the files, and label all files. Resumes from ``folder``.

    Args:
        features: features to cluster.
        num_units: number of clusters.
        files: files to label.
        config: shape of the model, which defines the frames.
        share: share of the files, drawn at random, on which the clusters are found.
        seed: seed of that draw and of k-means.
        folder: stores the clusters and the labels.

    Raises:
        UserError: fewer frames than clusters.
    """
    centroids = _centroids(features, num_units, files, config=config, share=share, seed=seed, folder=folder)
    labels = _kept_labels(folder)
    made: list[Labels] = []
    waiting: list[Features] = []
    first, started = len(labels), time.monotonic()
    for each in tracked(features.of(files[first:]), "labels", len(files), "files", done=first):
        waiting.append(each)
        is_last = len(labels) + len(made) + len(waiting) == len(files)
        is_due = is_last or time.monotonic() - started >= SECONDS_A_SHARD
        if is_due or sum(map(len, waiting)) >= FRAMES_A_BATCH:
            made += _labelled(waiting, centroids, features.device)
            waiting = []
        if is_due:
            save_labels(_shard(folder, len(labels)), made)
            labels += made
            made, started = [], time.monotonic()
    return FrameUnits({file.path: each for file, each in zip(files, labels, strict=True)}, num_units)


def _shard(folder: Path, first: int) -> Path:
    return folder / f"labels-{first:07d}.npz"


def _kept_labels(folder: Path) -> list[Labels]:
    """Read the stored labels of the first files, up to the first gap."""
    labels: list[Labels] = []
    while shard := load_labels(_shard(folder, len(labels))):
        labels += shard
    return labels


def _labelled(features: Sequence[Features], centroids: Features, device: str) -> list[Labels]:
    """Label the frames of several files together."""
    units = nearest_units(np.concatenate(features), centroids, device)
    return np.split(units, np.cumsum([len(each) for each in features])[:-1])


def nearest_units(features: Features, centroids: Features, device: str = "cpu") -> Labels:
    """Return the nearest centroid of every frame, (frames,).

    Distances are in float64, so that the device and the other frames of a call do not change the result.
    """
    frames, centres = (torch.from_numpy(each).to(device).double() for each in (features, centroids))
    # The square of the frame's norm is the same for all centroids.
    distances = torch.addmm(centres.square().sum(1), frames, centres.T, alpha=-2)
    units: Labels = distances.argmin(1).to(torch.int16).cpu().numpy()
    return units


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
    content = read_sealed(path)
    if content is not None:
        stored: Features = np.load(io.BytesIO(content), allow_pickle=False)
        return stored
    sample = drawn_files(files, share, seed)
    require_frames(sample, num_units, config)
    logger.info("finding %d clusters in %d frames of %d files", num_units, count_frames(sample, config), len(sample))
    gathered = GatheredFeatures(folder, features, sample, config, seed)
    state = folder / "kmeans.npz"
    centroids = fitted_centroids(gathered.all(), num_units, seed, state)
    written = io.BytesIO()
    np.save(written, centroids)
    write_sealed(path, written.getvalue())
    gathered.remove()
    state.unlink(missing_ok=True)
    return centroids
