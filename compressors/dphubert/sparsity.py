"""Sparsity: the ramp of the target, the augmented Lagrangian that enforces it, and masks that meet a size exactly.

Source: DPHuBERT (arXiv 2305.17651) section 3.3, after Wang et al., Structured Pruning of Large Language Models
(arXiv 1910.04732) equation 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from bench.upstream import UpstreamConfig
from bench.upstream.gate_kinds import HARDENED_SLOPE, TEMPERATURE, FixedGate, Gate
from bench.upstream.gates import Gates
from bench.upstream.pruning import pruned_config
from compressors.dphubert.config import SparsityConfig
from compressors.settings import Unit
from compressors.size.budget import Budget, budget_for
from compressors.size.pruning import levels_within_budget, rounded

CLOSED = -40.0
"""A shift of ``log_alpha`` that closes any gate."""


def target_sparsity(final: float, update: int, warmup_updates: int, initial: float = 0.0) -> float:
    """Return the target sparsity after ``update`` finished updates.

    Args:
        final: target after the ramp.
        update: finished updates.
        warmup_updates: length of the ramp.
        initial: the student's sparsity before the first update.

    Source: DPHuBERT section 4.1.
    """
    return final if update >= warmup_updates else initial + (final - initial) * update / warmup_updates


class Multipliers(nn.Module):
    """The linear and quadratic multipliers of the augmented Lagrangian. They are maximised."""

    def __init__(self, initial_quadratic: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.tensor(0.0))
        self.quadratic = nn.Parameter(torch.tensor(initial_quadratic))

    def forward(self, expected: Tensor, target: float) -> Tensor:
        """Return the regulariser for an expected and a target sparsity: lambda1 (s - t) + lambda2 (s - t)^2."""
        excess = expected - target
        penalty: Tensor = self.linear * excess + self.quadratic * excess**2
        return penalty


def expected_sparsity(gates: Gates, budget: Budget, config: SparsityConfig) -> Tensor:
    """Return the expected sparsity of the gates, a differentiable scalar."""
    if config.expected_size == "reference" and budget.counting == "dphubert_params":
        return 1 - gates.expected_parameters() / budget.original
    units, position_embeddings = gates.expected_structure(keep_position_bias=config.keep_position_bias)
    expected = budget.measure_units(gates.shape, units, position_embeddings)
    return 1 - torch.as_tensor(expected, dtype=torch.get_default_dtype()) / budget.original


@torch.no_grad()
def hardened_sparsity(gates: Gates, budget: Budget, config: SparsityConfig) -> float:
    """Return the sparsity that pruning by the gates' own expectation would reach."""
    masks = _shifted_masks(_fixed(gates), dict.fromkeys(config.units, 0.0), config.round_to)
    return budget.reached(pruned_config(gates.shape, masks, keep_position_bias=config.keep_position_bias))


@torch.no_grad()
def final_masks(gates: Gates, shape: UpstreamConfig, config: SparsityConfig) -> dict[str, Tensor]:
    """Decide which gates close for good. Open gates keep their soft value.

    Args:
        gates: trained gates.
        shape: shape of the teacher, which the budget refers to. The gated model may have shrunk.
        config: ``threshold`` chooses the rule.

    Returns:
        Masks for `bench.upstream.pruning.prune`. Every convolution keeps a channel.
    """
    fixed = _fixed(gates)
    if config.threshold == "reference":
        return _shifted_masks(fixed, dict.fromkeys(config.units, 0.0), config.round_to)
    budget = budget_for(config, shape)

    def size(shifts: Mapping[Unit, float]) -> int:
        masks = _shifted_masks(fixed, shifts, config.round_to)
        return budget.measure(pruned_config(gates.shape, masks, keep_position_bias=config.keep_position_bias))

    shifts = levels_within_budget(size, budget.wanted, config.units, lowest=CLOSED, highest=-CLOSED)
    return _shifted_masks(fixed, shifts, config.round_to)


def _fixed(gates: Gates) -> dict[str, Gate]:
    """Compute what each gate has learned once, since a search reads it many times."""
    return {key: FixedGate(cast("Gate", module)) for key, module in gates.items()}


def _shifted_masks(gates: Mapping[str, Gate], shifts: Mapping[Unit, float], round_to: int) -> dict[str, Tensor]:
    """Return masks with as many zeros, up to rounding, as the gates have once each unit's ``log_alpha`` is shifted."""
    masks = {}
    for key, gate in gates.items():
        unit = cast("Unit", key.split("/")[0])
        shifted = gate.hardened(shifts[unit])
        num_kept = rounded(unit, int(shifted.count_nonzero()), len(shifted), round_to)
        soft = torch.maximum(torch.sigmoid(gate.log_alpha / TEMPERATURE * HARDENED_SLOPE), gate.hardened())
        closed = gate.log_alpha.topk(len(soft) - num_kept, largest=False).indices
        masks[key] = soft.index_fill(0, closed, 0.0)
    return masks
