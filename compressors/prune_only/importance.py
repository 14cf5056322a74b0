"""Importance of units. `compressors.prune_only.allocation` decides which units a budget keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from bench.progress import tracked
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.cost import kept_units
from bench.upstream.unit_weights import by_column, readers, unit_weights
from compressors.objectives.masked_prediction import MaskedPrediction
from compressors.settings import Unit
from compressors.training.kept_tensors import Snapshots
from compressors.units.batches import UnitBatch

Scores = Mapping[str, Tensor]
"""Scores (units,) float32 by ``<unit>/<layer index>``, the keys of masks. A higher score is more important."""


def magnitude_scores(model: UpstreamModel, units: Sequence[Unit], norm: Literal["l1", "l2"]) -> Scores:
    """Score units by the size of the weights that compute and read them.

    Scores are means, so they do not depend on the sizes of neighbouring layers.

    Args:
        model: the model.
        units: the kinds to score.
        norm: ``l1``, the mean absolute weight, or ``l2``, the root of the mean square.

    Source: Li et al., Pruning Filters for Efficient ConvNets (arXiv 1608.08710) section 3.1; Fang et al., DepGraph
    (arXiv 2301.12900) for the groups of weights that go together.
    """
    scores = {}
    for key, count in unit_counts(model.config, units).items():
        weights = torch.cat([part.detach() for part in unit_weights(model, key, count)], dim=1)
        scores[key] = (weights.abs().mean(1) if norm == "l1" else weights.square().mean(1).sqrt()).cpu()
    return scores


def taylor_scores(
    objective: MaskedPrediction,
    batches: Sequence[UnitBatch],
    units: Sequence[Unit],
    *,
    device: str,
    seed: int,
    snapshots: Snapshots | None = None,
) -> Scores:
    """Score units by how much the masked-prediction loss would change without them, to first order.

    For one batch that is the derivative of the loss with respect to a gate on the unit: the sum of gradient times
    weight over the weights that read the unit. The score is its root mean square over the batches.

    Args:
        objective: the model, with predictors that fit it. It is left on the CPU, in training mode.
        batches: the audio and its units.
        units: the kinds to score.
        device: where to compute.
        seed: seed of the masks.
        snapshots: store the sums, to resume an interrupted call.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning (arXiv 1906.10771) section 3.
    """
    objective.to(device).eval()
    config = objective.upstream.config
    counts = unit_counts(config, units)
    read_by = {name: objective.upstream.get_parameter(name) for key in counts for name in readers(key, config)}
    scores = {key: torch.zeros(count) for key, count in counts.items()}
    torch.manual_seed(seed)
    kept = (snapshots.last() if snapshots else None) or {}
    done = _restore(kept, scores, device) if kept else 0
    for index in tracked(range(done, len(batches)), "importances", len(batches), "batches", done):
        batch = batches[index]
        with _unscaled_gradient(objective):
            loss = objective(batch.waveforms.to(device), batch.labels.to(device), 0)["masked_loss"]
        gradients = torch.autograd.grad(loss, list(read_by.values()))
        changes = {
            name: (gradient * weight).detach()
            for (name, weight), gradient in zip(read_by.items(), gradients, strict=True)
        }
        for key, count in counts.items():
            grouped = torch.cat([by_column(changes[name], count) for name in readers(key, config)], dim=1)
            scores[key] += grouped.sum(1).square().cpu()
        if snapshots:
            snapshots.keep(lambda done=index + 1: _snapshot(scores, done, device))  # type: ignore[misc]
    objective.cpu().train()
    return {key: score.sqrt() for key, score in scores.items()}


@contextmanager
def _unscaled_gradient(objective: MaskedPrediction) -> Iterator[None]:
    """Ignore ``extractor_gradient_scale``: with it, convolutions would seem less important than other units."""
    own = objective.config
    objective.config = own.model_copy(update={"extractor_gradient_scale": 1.0})
    try:
        yield
    finally:
        objective.config = own


def _snapshot(scores: Scores, done: int, device: str) -> dict[str, Tensor]:
    """Return the state that the next batch depends on."""
    state = {**scores, "done": torch.tensor(done), "random": torch.get_rng_state()}
    return state | ({"cuda_random": torch.cuda.get_rng_state()} if device == "cuda" else {})


def _restore(kept: Mapping[str, Tensor], scores: dict[str, Tensor], device: str) -> int:
    """Restore a snapshot, and return its number of finished batches."""
    scores |= {key: kept[key] for key in scores}
    torch.set_rng_state(kept["random"])
    if device == "cuda":
        torch.cuda.set_rng_state(kept["cuda_random"])
    return int(kept["done"])


def random_scores(config: UpstreamConfig, units: Sequence[Unit], seed: int) -> Scores:
    """Score units at random, as a baseline."""
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.rand(count, generator=generator) for key, count in unit_counts(config, units).items()}


def unit_counts(config: UpstreamConfig, units: Sequence[Unit]) -> dict[str, int]:
    """Count the units of some kinds, by the keys of masks."""
    there = kept_units(config)
    return {f"{unit}/{index}": count for unit in units for index, count in enumerate(there[unit]) if count}
