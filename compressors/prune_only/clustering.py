"""Importance of units by clustering their weights: of units that resemble each other, one stays. It needs no data.

Source: Xu et al., Towards Data-free and Training-free Compression for Speech Foundation Models Using Parameter
Clustering (arXiv 2606.11836), which clusters channels by k-means; Ward, Hierarchical Grouping to Optimize an Objective
Function (JASA 1963), which lowers the same objective with clusters that are nested, so that one ranking serves every
budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.progress import tracked
from bench.upstream import UpstreamModel
from bench.upstream.unit_weights import unit_weights
from compressors.prune_only.importance import Scores, unit_counts
from compressors.settings import Unit


def cluster_scores(model: UpstreamModel, units: Sequence[Unit]) -> Scores:
    """Score units by how far they are from the units that can stand for them.

    The units of a layer are merged into ever fewer clusters. Of two merged clusters, one keeps its representative: the
    unit nearer to the common mean. The other unit's score is the distance of the merge. So the k best units of a layer
    are the representatives of its k clusters.

    Args:
        model: the model.
        units: the kinds to score. Whole blocks are alone in their layer, and have nothing to be merged with.
    """
    counts = unit_counts(model.config, units)
    scores = {}
    for key, count in tracked(counts.items(), "importances", len(counts), "layers"):
        weights = torch.cat([part.detach() for part in unit_weights(model, key, count)], dim=1)
        scores[key] = _scores(weights.cpu().double())
    return scores


def _scores(weights: Tensor) -> Tensor:
    """Score the units of one layer, (units,) float32, by their weights (units, weights of one).

    Distances are root mean squares over the weights of a unit, so they do not depend on the sizes of neighbouring
    layers.
    """
    from scipy.cluster.hierarchy import ward  # Imported here: it takes a second to import.

    num_units, num_weights = weights.shape
    if num_units == 1:
        return weights.square().mean(1).sqrt().float()
    scores = torch.empty(num_units)
    # Representative and sum of the weights of each cluster, by its number in the result of `ward`.
    clusters = [(index, weights[index]) for index in range(num_units)]
    for first, second, distance, size in ward(weights.numpy()).tolist():
        (one, one_sum), (other, other_sum) = clusters[int(first)], clusters[int(second)]
        total = one_sum + other_sum
        is_nearer = (weights[one] - total / size).norm() <= (weights[other] - total / size).norm()
        kept, lost = (one, other) if is_nearer else (other, one)
        clusters.append((kept, total))
        scores[lost] = distance / num_weights**0.5
    # Just above the last merge: this unit is its layer's best, and does not stand out among layers.
    scores[kept] = torch.nextafter(scores[lost], torch.tensor(torch.inf))
    return scores
