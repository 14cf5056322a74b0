"""Which units pruning keeps: how many in each layer, and of those the most important ones.

``uniform``: every kind of unit loses the same share, the one that meets the budget. Units of one kind compete over all
layers by their score relative to their layer's mean. Otherwise a whole layer would disappear because its weights or
gradients are small (layer collapse: Tanaka et al., arXiv 2006.05467). Whole blocks are alone in their layer and compete
by the score itself.

``global``: units of all kinds and layers compete, by what removing them costs the loss and saves of the budget. Source:
Molchanov et al. (arXiv 1906.10771) for the global ranking.

``as:MODEL``: every layer keeps as many units as the same layer of another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import UserError
from bench.text import shortened
from bench.upstream import UpstreamConfig
from bench.upstream.cost import kept_units
from bench.upstream.pruning import pruned_config
from bench.upstream.reference import reference_config
from compressors.prune_only.config import Importance, PruneOnlyConfig
from compressors.prune_only.importance import Scores
from compressors.settings import PruningConfig, Unit
from compressors.size.budget import TOLERANCE, Budget, budget_for
from compressors.size.pruning import levels_within_budget, rounded
from compressors.size.warm_start import require_part

BLOCKS = ("attlayer", "ffnlayer")
"""Kinds with one unit per layer."""
BLOCK_OF = {"head": "attlayer", "interm": "ffnlayer"}
"""The block that disappears with the last of its units."""


@dataclass(frozen=True)
class Ranking:
    """Units that compete with each other, over several layers."""

    ranks: Mapping[str, Tensor]
    """Ranks (units,) by key of a mask; 0 is the most important."""
    least: int
    """Number of leading units that always stay."""
    num_units: int
    """Number of all units that compete, of all kinds."""

    def num_kept(self, share: float) -> int:
        """Return how many of the competing units a share keeps."""
        return self.least + round(share * (self.num_units - self.least))


def uniform_masks(scores: Scores, shape: UpstreamConfig, budget: Budget, config: PruningConfig) -> dict[str, Tensor]:
    """Keep the most important units that a budget allows, with the same share of every kind.

    If that share leaves the result below the budget, kinds keep a little more, the coarsest first.

    Args:
        scores: scores of the kinds to prune.
        shape: shape of the model to prune.
        budget: budget of the result.
        config: ``units``, ``keep_position_bias`` and ``round_to``.

    Returns:
        bool masks for `bench.upstream.pruning.prune`. Every convolution keeps its best channel.
    """
    rankings = {unit: _ranking(_relative(unit, _of_kind(unit, scores))) for unit in config.units}
    return _masks_within_budget(rankings, shape, budget, config)


def global_masks(
    scores: Scores, shape: UpstreamConfig, budget: Budget, config: PruningConfig, importance: Importance
) -> dict[str, Tensor]:
    """Keep the most important units that a budget allows, whatever their kind; see `uniform_masks`.

    ``taylor`` scores are losses, so units compete by their score per parameter or MAC that they cost. The other scores
    are means over weights already.
    """
    costs = _costs(shape, budget) if importance == "taylor" else {}
    worths = {key: score / costs.get(key, 1.0) for key, score in scores.items()}
    ranking = _ranking(worths)
    ranks: dict[Unit, Ranking] = {
        unit: Ranking(_of_kind(unit, ranking.ranks), ranking.least, ranking.num_units) for unit in config.units
    }
    return _masks_within_budget(ranks, shape, budget, config)


def copied_masks(scores: Scores, wanted: UpstreamConfig, share: float, beginning: UpstreamConfig) -> dict[str, Tensor]:
    """Keep the most important units of each layer, as many as another model has.

    Args:
        scores: scores of the model to prune.
        wanted: shape of the other model.
        share: share of the way from ``beginning`` to ``wanted``, at most 1.
        beginning: shape before the first pruning step.
    """
    first, last = kept_units(beginning), kept_units(wanted)
    masks = {}
    for key, score in scores.items():
        unit, index = key.split("/")
        before, after = first[unit][int(index)], last[unit][int(index)]
        num_kept = round(before + share * (after - before))
        masks[key] = torch.zeros(len(score), dtype=torch.bool).index_fill(0, score.topk(num_kept).indices, True)
    return masks


def wanted_shape(
    config: PruneOnlyConfig, teacher: UpstreamConfig, start: UpstreamConfig | None
) -> UpstreamConfig | None:
    """Return the shape of the model whose widths ``allocation`` copies. None: it copies none.

    Raises:
        UserError: there is no such model, it is not part of the teacher or of the model of ``--from``, it is pruned in
            other units, or it has another size than the one asked for.
    """
    if config.allocated_as is None:
        return None
    shape = reference_config(config.allocated_as)
    where = f"allocation=as:{shortened(config.allocated_as, 100)}"
    if shape is None:
        raise UserError(f"Expected a model pruned from the teacher. Found {where}, which has no layers. Name another.")
    require_part(shape, teacher, option=where)
    whole, kept = kept_units(start or teacher), kept_units(shape)
    for unit in ("conv", "head", "interm"):
        pairs = zip(whole[unit], kept[unit], strict=True)
        if not all(_is_reachable(unit, before, after, config) for before, after in pairs):
            raise UserError(
                f"Expected the widths of {where} to be reachable by pruning {', '.join(config.units)}. Found other "
                f"widths of {unit}. Name another model, or change units."
            )
    budget = budget_for(config, teacher)
    if abs(budget.measure(shape) / budget.wanted - 1) > TOLERANCE:
        raise UserError(
            f"Expected {where} to have the size asked for, a sparsity of {budget.sparsity:.4f}. Found "
            f"{budget.reached(shape):.4f}. Set sparsity={budget.reached(shape):.4f}, or name another model."
        )
    return shape


def _is_reachable(unit: str, before: int, after: int, config: PruningConfig) -> bool:
    """Return whether pruning can leave ``after`` of a layer's units."""
    removes_block = after == 0 and BLOCK_OF.get(unit) in config.units
    return after == before or removes_block or (unit in config.units and after < before)


def _masks_within_budget(
    rankings: Mapping[Unit, Ranking], shape: UpstreamConfig, budget: Budget, config: PruningConfig
) -> dict[str, Tensor]:
    def masks(shares: Mapping[Unit, float]) -> dict[str, Tensor]:
        return {
            key: _best(unit, rank, rankings[unit].num_kept(shares[unit]), config.round_to)
            for unit in config.units
            for key, rank in rankings[unit].ranks.items()
        }

    def size(shares: Mapping[Unit, float]) -> int:
        return budget.measure(pruned_config(shape, masks(shares), keep_position_bias=config.keep_position_bias))

    return masks(levels_within_budget(size, budget.wanted, config.units, lowest=0.0, highest=1.0))


def _of_kind(unit: Unit, by_key: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in by_key.items() if key.split("/")[0] == unit}


def _relative(unit: Unit, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Divide scores by the mean of their layer. Whole blocks are alone in theirs."""
    if unit in BLOCKS:
        return dict(scores)
    return {key: score / score.mean().clamp(min=torch.finfo(score.dtype).tiny) for key, score in scores.items()}


def _ranking(scores: Mapping[str, Tensor]) -> Ranking:
    """Rank units over all layers, the most important first. The best channel of each convolution leads."""
    convolutions = [key for key in scores if key.startswith("conv/")]
    led = {
        key: score.index_fill(0, score.argmax(), torch.inf) if key in convolutions else score
        for key, score in scores.items()
    }
    if not led:
        return Ranking({}, 0, 0)
    order = torch.cat(list(led.values())).argsort(descending=True, stable=True)
    ranks = torch.split(order.argsort(), [len(score) for score in led.values()])
    return Ranking(dict(zip(led, ranks, strict=True)), len(convolutions), len(order))


def _costs(shape: UpstreamConfig, budget: Budget) -> dict[str, float]:
    """Return how much of the budget one unit of each layer takes, by key of a mask."""
    units = {
        unit: torch.tensor(counts, dtype=torch.float64, requires_grad=True)
        for unit, counts in kept_units(shape).items()
    }
    position = shape.relative_position
    size = budget.measure_units(shape, units, int(position is not None and position.has_embedding))
    gradients = torch.autograd.grad(size, list(units.values()))
    return {
        f"{unit}/{index}": cost
        for unit, gradient in zip(units, gradients, strict=True)
        for index, cost in enumerate(gradient.tolist())
    }


def _best(unit: Unit, ranks: Tensor, num_kept: int, round_to: int) -> Tensor:
    """Mark the units of one layer, (units,) bool, that are among the first ``num_kept`` of those that compete."""
    own = rounded(unit, int((ranks < num_kept).sum()), len(ranks), round_to)
    return ranks.argsort().argsort() < own
