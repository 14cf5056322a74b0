"""Sparsity: the target's ramp, the augmented Lagrangian that holds it, and masks of exactly the size wanted.

Source: DPHuBERT (arXiv 2305.17651) section 3.3, after Wang et al., Structured Pruning of Large Language Models
(arXiv 1910.04732) equation 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from bench.errors import UserError
from bench.upstream import UpstreamConfig
from bench.upstream.cost import kept_units
from bench.upstream.gates import HARDENED_SLOPE, TEMPERATURE, Gates, HardConcrete
from bench.upstream.pruning import pruned_config
from compressors.budget import Budget, BudgetConfig, budget_for

Unit = Literal["conv", "head", "interm", "attlayer", "ffnlayer"]

COARSE_TO_FINE: tuple[Unit, ...] = ("ffnlayer", "attlayer", "head", "conv", "interm")
"""Pruning units by how many parameters one of them holds."""

CLOSED = -40.0
"""A shift of ``log_alpha`` that closes any gate."""


class SparsityConfig(BudgetConfig):
    """How small the model becomes, and by what; a compressor's configuration inherits it."""

    units: tuple[Unit, ...] = Field(default=("conv", "head", "interm"), min_length=1)
    """What is pruned: ``conv`` channels, attention ``head``s, feed-forward units (``interm``), whole attention blocks
    (``attlayer``), whole feed-forward blocks (``ffnlayer``)."""
    gate_learning_rate: float = Field(default=0.02, gt=0)
    """Peak learning rate of the gates. Source: DPHuBERT section 4.1."""
    multiplier_learning_rate: float = Field(default=0.02, gt=0)
    """Peak learning rate of the Lagrangian's multipliers, by gradient ascent. Source: DPHuBERT section 4.1."""
    initial_quadratic_multiplier: float = Field(default=0.0, ge=0)
    """Where the quadratic multiplier starts: 0 in DPHuBERT. In short stages the multipliers, which move by about their
    learning rate an update, overshoot the target; a start above 0 makes the expected sparsity follow it closely."""
    sparsity_warmup_updates: int = Field(default=5000, ge=0)
    """Updates over which the target rises linearly from 0."""
    threshold: Literal["target", "reference"] = "target"
    """Which gates close for good: ``target`` closes as few as meet the budget, which lands within 1 % below it;
    ``reference`` follows the gates' own expectation, as DPHuBERT does, and misses it by what training missed."""
    expected_size: Literal["whole", "reference"] = "whole"
    """What training takes for the gates' expected parameters: ``whole`` is what is then left after pruning;
    ``reference`` leaves WavLM's position bias out, counts output biases that go with a block's last unit, and not the
    channel that every convolution keeps. Of a budget in MACs, or in absolute terms, it is always ``whole``."""
    keep_position_bias: bool = True
    """Keep WavLM's relative position bias while any layer has attention; False: it goes with layer 0's, as in
    DPHuBERT's reference implementation."""


def target_sparsity(final: float, update: int, warmup_updates: int) -> float:
    """Return the sparsity aimed at after ``update`` finished updates, of which the first ``warmup_updates`` raise it.

    Source: DPHuBERT section 4.1.
    """
    return final if update >= warmup_updates else final * update / warmup_updates


class Multipliers(nn.Module):
    """The augmented Lagrangian's linear and quadratic multipliers, which are to be maximised."""

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
    """Return the sparsity that the gates are expected to lead to, a differentiable scalar."""
    if config.expected_size == "reference" and budget.counting == "dphubert_params":
        return 1 - gates.expected_parameters() / budget.original
    units, position_embeddings = gates.expected_structure(keep_position_bias=config.keep_position_bias)
    expected = budget.measure_units(gates.shape, units, position_embeddings)
    return 1 - torch.as_tensor(expected, dtype=torch.get_default_dtype()) / budget.original


def largest_sparsity(shape: UpstreamConfig, budget: Budget, config: SparsityConfig) -> float:
    """Return what pruning can reach at most: one channel a convolution, nothing of the other units."""
    smallest = {
        f"{unit}/{index}": torch.arange(count) < (unit == "conv")
        for unit in config.units
        for index, count in enumerate(kept_units(shape)[unit])
        if count
    }
    return budget.reached(pruned_config(shape, smallest, keep_position_bias=config.keep_position_bias))


def require_reachable(shape: UpstreamConfig, config: SparsityConfig) -> None:
    """Refuse a budget that the chosen units cannot reach for a teacher of this shape.

    Raises:
        UserError: with the smallest size that they can.
    """
    budget = budget_for(config, shape)
    largest = largest_sparsity(shape, budget, config)
    if budget.sparsity > largest:
        units = ", ".join(config.units)
        if config.params is not None:
            raise UserError(
                f"Expected a size that pruning {units} can reach: at least {round((1 - largest) * budget.original)} "
                f"parameters for this teacher. Found params={config.params}. Raise it, or add pruning units."
            )
        quantity = "MACs" if config.target == "macs" else "parameters"
        raise UserError(
            f"Expected a sparsity that pruning {units} can reach: at most {largest:.4f} of this teacher's {quantity}. "
            f"Found {config.sparsity}. Lower the sparsity, or add pruning units."
        )


@torch.no_grad()
def final_masks(gates: Gates, shape: UpstreamConfig, config: SparsityConfig) -> dict[str, Tensor]:
    """Decide which gates close for good; what stays open keeps its soft value.

    Args:
        gates: trained, of a model of this shape.
        shape: unpruned, which the budget refers to.
        config: ``threshold`` says by which rule.

    Returns:
        Masks as `bench.upstream.pruning.prune` takes them; every convolution keeps a channel.
    """
    units = [unit for unit in COARSE_TO_FINE if unit in config.units]
    shifts = dict.fromkeys(units, 0.0)
    if config.threshold == "target":
        budget = budget_for(config, shape)

        def size(shifts: Mapping[Unit, float]) -> int:
            masks = _shifted_masks(gates, shifts)
            return budget.measure(pruned_config(shape, masks, keep_position_bias=config.keep_position_bias))

        # Coarse units alone would miss the size by up to one of theirs: at each turn the finer ones make up for it.
        for first, coarsest in enumerate(units):
            below, above = _bracket(size, budget.wanted, shifts, units[first:])
            shifts.update(dict.fromkeys(units[first + 1 :], CLOSED) | {coarsest: above})
            if size(shifts) > budget.wanted:
                shifts[coarsest] = below
    return _shifted_masks(gates, shifts)


def _bracket(
    size: Callable[[Mapping[Unit, float]], int], wanted: int, shifts: Mapping[Unit, float], free: Sequence[Unit]
) -> tuple[float, float]:
    """Find, by bisection, the highest common shift of the ``free`` units of ``wanted`` or less, and one just above."""
    low, high = CLOSED, -CLOSED
    for _ in range(24):
        middle = (low + high) / 2
        if size({**shifts, **dict.fromkeys(free, middle)}) <= wanted:
            low = middle
        else:
            high = middle
    return low, high


def _shifted_masks(gates: Gates, shifts: Mapping[Unit, float]) -> dict[str, Tensor]:
    """Return the masks whose numbers of zeros are those of gates with ``log_alpha`` shifted by their unit's shift."""
    gates.eval()
    masks = {}
    for key, module in gates.items():
        gate = cast("HardConcrete", module)
        shift = shifts[cast("Unit", key.split("/")[0])]
        closed = functional_call(gate, {"log_alpha": gate.log_alpha + shift}, ()) == 0
        soft = torch.maximum(torch.sigmoid(gate.log_alpha / TEMPERATURE * HARDENED_SLOPE), gate())
        masks[key] = soft.masked_fill(closed, 0.0)
    return masks
