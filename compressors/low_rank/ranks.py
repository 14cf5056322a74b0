"""The rank that each linear layer keeps, by the energy of its components or by a budget for the whole model.

A component is a singular value with its two vectors. Its energy is the squared singular value. Dropping it adds that
much to the squared error of the weight or, with whitened inputs, of the layer's outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.errors import UserError
from bench.upstream import UpstreamConfig
from bench.upstream.config import ReducedLinear
from compressors.settings import BudgetConfig
from compressors.size.budget import Budget

Ranks = dict[str, int]
"""Rank by path of module, for layers that it makes smaller. All others stay dense."""


def ranks_by_energy(spectra: Mapping[str, Tensor], shape: UpstreamConfig, energy: float) -> Ranks:
    """Keep the fewest components of each layer that have a share of its energy.

    Args:
        spectra: singular values of layers in descending order, by path of module.
        shape: shape of the model.
        energy: the share.

    Raises:
        UserError: no layer becomes smaller.
    """
    wanted = {path: int((_energy_shares(values).cumsum(0) < energy).sum()) + 1 for path, values in spectra.items()}
    ranks = paying_ranks(wanted, shape)
    if not ranks:
        raise UserError(
            f"Expected an energy at which low rank makes some layer smaller. Found energy={energy}, at which no layer "
            "becomes smaller. Lower it."
        )
    return ranks


def ranks_within_budget(spectra: Mapping[str, Tensor], shape: UpstreamConfig, budget: Budget) -> Ranks:
    """Keep the components of all layers with the most energy that fit the budget.

    Energies are shares of their layer's energy, so layers of large outputs are not preferred. Every layer keeps one.

    Args:
        spectra: as in `ranks_by_energy`.
        shape: shape of the model. It must meet the budget with all layers at rank 1.
        budget: met from below, to within one component.
    """
    energies = {path: _energy_shares(values) for path, values in spectra.items()}
    levels = torch.cat(list(energies.values())).sort(descending=True).values

    def ranks(num_kept: int) -> Ranks:
        wanted = {path: max(1, int((shares >= levels[num_kept - 1]).sum())) for path, shares in energies.items()}
        return paying_ranks(wanted, shape, budget)

    fits, exceeds = 1, len(levels)
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if budget.measure(low_rank_shape(shape, ranks(middle))) <= budget.wanted:
            fits = middle
        else:
            exceeds = middle
    return ranks(fits)


def _energy_shares(values: Tensor) -> Tensor:
    energies = values.double().square()
    return energies / energies.sum().clamp(min=torch.finfo(torch.float64).tiny)


def paying_ranks(ranks: Mapping[str, int], shape: UpstreamConfig, budget: Budget | None = None) -> Ranks:
    """Leave out layers that would not become smaller, or not faster if the budget is one of latency."""
    sizes = shape.linear_sizes
    if budget is None:
        return {path: rank for path, rank in ranks.items() if rank * sum(sizes[path]) < sizes[path][0] * sizes[path][1]}
    return {path: rank for path, rank in ranks.items() if budget.pays(*sizes[path], rank)}


def low_rank_shape(shape: UpstreamConfig, ranks: Mapping[str, int]) -> UpstreamConfig:
    """Return the shape with layers of these ranks."""
    return shape.with_reduced_linears({path: ReducedLinear(rank=rank) for path, rank in ranks.items()})


def require_reachable_rank(shape: UpstreamConfig, linears: list[str], budget: Budget, config: BudgetConfig) -> None:
    """Refuse a budget that these layers cannot reach even at rank 1.

    Raises:
        UserError: names the smallest size that they can reach.
    """
    smallest = low_rank_shape(shape, paying_ranks(dict.fromkeys(linears, 1), shape, budget))
    size = budget.measure(smallest)
    if size <= budget.wanted:
        return
    if config.params is not None:
        raise UserError(
            f"Expected a size that layers of rank 1 can reach: at least {size} parameters for this teacher. "
            f"Found params={config.params}. Raise it, or add linears."
        )
    raise UserError(
        f"Expected a sparsity that layers of rank 1 can reach: at most {budget.reached(smallest):.4f} of this "
        f"teacher's {budget.quantity}. Found {config.sparsity}. Lower the sparsity, or add linears."
    )
