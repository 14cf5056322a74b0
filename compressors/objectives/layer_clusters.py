"""Groups of similar hidden states, whose means the student learns.

Source: Zampierin et al., SKILL (arXiv 2402.16830), for distillation of groups that hierarchical clustering finds;
Kornblith et al. (arXiv 1905.00414) for the similarity, linear CKA; Nguyen et al. (arXiv 2010.15327) for its sum over
batches.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.progress import tracked
from bench.upstream import UpstreamModel
from bench.workers.ranks import first_goes_first
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.settings import DistillationConfig, LayerGroups
from compressors.training.crops import CropBatches, Waveforms
from compressors.training.kept_tensors import Snapshots, kept_tensors
from compressors.training.seeds import derived_seed

if TYPE_CHECKING:
    from compressors.training.loop import Training

logger = logging.getLogger(__name__)

MOST_FRAMES = 512
"""Frames of a batch that are compared, evenly spaced. The cost grows with their square."""

_PRODUCTS, _DONE = "products", "batches done"
"""Keys of a snapshot."""

Config = TypeVar("Config", bound=DistillationConfig)


def with_clustered_layers(config: Config, teacher: UpstreamModel, training: Training) -> Config:
    """Return the configuration with the groups of states as ``distillation_layers``, if they have to be found.

    The similarity is measured on training audio and stored in the work folder. All seeds measure it on the same audio.
    """
    if not config.clusters_layers:
        return config
    snapshots = Snapshots(training.workdir / "layer-products.safetensors")

    def measured() -> dict[str, Tensor]:
        batches = _audio(config, training)
        return {"similarity": layer_similarity(teacher, batches, training.context.device, snapshots)}

    with first_goes_first():
        similarity = kept_tensors(training.workdir / "layer-similarity.safetensors", measured)["similarity"]
    snapshots.remove()
    groups = similar_layers(similarity, config.num_groups)
    logger.info("groups of similar hidden states: %s", json.dumps(groups))
    return config.model_copy(update={"distillation_layers": groups})


@torch.no_grad()
def layer_similarity(
    teacher: UpstreamModel, batches: Sequence[Tensor], device: str, snapshots: Snapshots | None = None
) -> Tensor:
    """Measure the linear CKA between all hidden states of a teacher, (states, states) float64 in [0, 1].

    Args:
        teacher: the teacher.
        batches: waveforms (batch, samples) without padding.
        device: where to compute.
        snapshots: store the sums, to resume an interrupted call.
    """
    model = FrozenTeacher(teacher, device).model
    kept = (snapshots.last() if snapshots else None) or {}
    num_states = teacher.num_layers + 1
    products = kept.get(_PRODUCTS, torch.zeros(num_states, num_states, dtype=torch.float64))
    done = int(kept.get(_DONE, torch.tensor(0)))
    for index in tracked(range(done, len(batches)), "similarity of layers", len(batches), "batches", done):
        states, _ = model.distillation_states(batches[index].to(device))
        products = products + _products(torch.stack([_some_frames(state) for state in states])).cpu()
        if snapshots:
            sums = {_PRODUCTS: products, _DONE: torch.tensor(index + 1)}
            snapshots.keep(lambda sums=sums: sums)  # type: ignore[misc]
    norms = products.diagonal().clamp(min=torch.finfo(products.dtype).tiny).sqrt()
    return (products / norms / norms[:, None]).clamp(0, 1)


def similar_layers(similarity: Tensor, num_groups: int) -> LayerGroups:
    """Cluster hidden states by average linkage.

    Args:
        similarity: (states, states).
        num_groups: number of clusters. Equal states may leave fewer.

    Returns:
        Ascending states in each group, and groups in the order of their first states.
    """
    # Imported here: scipy takes a second to import.
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = 1 - (similarity + similarity.T).double().numpy() / 2
    np.fill_diagonal(distances, 0)
    clusters = fcluster(linkage(squareform(distances), "average"), num_groups, "maxclust").tolist()
    groups: dict[int, list[int]] = {}
    for layer, cluster in enumerate(clusters):
        groups.setdefault(cluster, []).append(layer)
    return tuple(map(tuple, groups.values()))


def _audio(config: DistillationConfig, training: Training) -> Waveforms:
    crops = CropBatches(training.files, training.config, derived_seed("similarity"))
    return Waveforms(crops, config.similarity_batches)


def _some_frames(state: Tensor) -> Tensor:
    """Return at most `MOST_FRAMES` evenly spaced frames of a state (batch, frames, dim), in float64."""
    frames = state.flatten(0, 1)
    step = -(-len(frames) // MOST_FRAMES)
    return frames[::step].double()


def _products(states: Tensor) -> Tensor:
    """Return the inner products of the centred Gram matrices of states (states, frames, dim)."""
    centred = states - states.mean(1, keepdim=True)
    grams = (centred @ centred.transpose(1, 2)).flatten(1)
    return grams @ grams.T
