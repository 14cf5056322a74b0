"""Sparsity: the target's ramp, the augmented Lagrangian that holds it, and masks of exactly the size wanted.

Source: DPHuBERT (arXiv 2305.17651) section 3.3, after Wang et al., Structured Pruning of Large Language Models
(arXiv 1910.04732) equation 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from bench.contracts import Settings
from bench.errors import UserError
from bench.upstream import UpstreamConfig
from bench.upstream.cost import count_dphubert_parameters, kept_units
from bench.upstream.gates import HARDENED_SLOPE, TEMPERATURE, Gates, HardConcrete
from bench.upstream.pruning import pruned_config

Unit = Literal["conv", "head", "interm", "attlayer", "ffnlayer"]

COARSE_TO_FINE: tuple[Unit, ...] = ("ffnlayer", "attlayer", "head", "conv", "interm")
"""Pruning units by how many parameters one of them holds."""


class SparsityConfig(Settings):
    """How small the model becomes, and by what; a compressor's configuration inherits it."""

    sparsity: float = Field(default=0.75, gt=0, lt=1)
    """Fraction of the teacher's parameters to remove, in DPHuBERT's counting."""
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
    """Updates over which the target rises linearly from 0 to ``sparsity``."""
    threshold: Literal["target", "reference"] = "target"
    """Which gates close for good: ``target`` closes as many as meet ``sparsity`` within 1 % of the size; ``reference``
    follows the gates' own expectation, as DPHuBERT does, and misses it by what training missed."""


def target_sparsity(config: SparsityConfig, update: int) -> float:
    """Return the sparsity aimed at after ``update`` finished updates.

    Source: DPHuBERT section 4.1.
    """
    if update >= config.sparsity_warmup_updates:
        return config.sparsity
    return config.sparsity * update / config.sparsity_warmup_updates


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


def expected_sparsity(gates: Gates, original_parameters: int) -> Tensor:
    """Return the sparsity that the gates are expected to lead to, a differentiable scalar."""
    return 1 - gates.expected_parameters() / original_parameters


def reached_sparsity(config: UpstreamConfig, original_parameters: int) -> float:
    """Return the sparsity of a pruned model of this shape."""
    return 1 - count_dphubert_parameters(config) / original_parameters


def largest_sparsity(config: UpstreamConfig, units: tuple[Unit, ...]) -> float:
    """Return what pruning ``units`` can reach at most: one channel a convolution, nothing of the others."""
    smallest = {
        f"{unit}/{index}": torch.arange(count) < (unit == "conv")
        for unit in units
        for index, count in enumerate(kept_units(config)[unit])
        if count
    }
    return reached_sparsity(pruned_config(config, smallest), count_dphubert_parameters(config))


def require_reachable(config: UpstreamConfig, sparsity: SparsityConfig) -> None:
    """Refuse a sparsity that the chosen units cannot reach.

    Raises:
        UserError: with the largest sparsity that they can.
    """
    largest = largest_sparsity(config, sparsity.units)
    if sparsity.sparsity > largest:
        raise UserError(
            f"Expected a sparsity that pruning {', '.join(sparsity.units)} can reach: at most {largest:.4f} for this "
            f"teacher. Found {sparsity.sparsity}. Lower the sparsity, or add pruning units."
        )


@torch.no_grad()
def final_masks(gates: Gates, config: UpstreamConfig, sparsity: SparsityConfig) -> dict[str, Tensor]:
    """Decide which gates close for good; what stays open keeps its soft value.

    Args:
        gates: trained, of a model of shape ``config``.
        config: the unpruned shape, which ``sparsity`` refers to.
        sparsity: ``threshold`` says by which rule.

    Returns:
        Masks as `bench.upstream.pruning.prune` takes them; every convolution keeps a channel.
    """
    units = [unit for unit in COARSE_TO_FINE if unit in sparsity.units]
    shifts = dict.fromkeys(units, 0.0)
    if sparsity.threshold == "target":
        wanted = round((1 - sparsity.sparsity) * count_dphubert_parameters(config))
        # Coarse units alone would miss the size by up to one of theirs: at each turn the finer ones make up for it.
        for first in range(len(units)):
            _shift_to(wanted, shifts, units[first:], gates, config)
    return _shifted_masks(gates, shifts)


def _shift_to(wanted: int, shifts: dict[Unit, float], free: list[Unit], gates: Gates, config: UpstreamConfig) -> None:
    """Find, by bisection, the lowest common shift of the ``free`` units that keeps ``wanted`` parameters or more."""
    low, high = -40.0, 40.0
    for _ in range(24):
        middle = (low + high) / 2
        masks = _shifted_masks(gates, shifts | dict.fromkeys(free, middle))
        if count_dphubert_parameters(pruned_config(config, masks)) >= wanted:
            high = middle
        else:
            low = middle
    shifts.update(dict.fromkeys(free, high))


def _shifted_masks(gates: Gates, shifts: Mapping[Unit, float]) -> dict[str, Tensor]:
    """Return the masks whose numbers of zeros are those of gates with ``log_alpha`` shifted by their unit's shift."""
    gates.eval()
    masks = {}
    for key, module in gates.items():
        gate = cast("HardConcrete", module)
        shift = shifts[cast("Unit", key.split("/")[0])]
        closed = functional_call(gate, {"log_alpha": gate.log_alpha + shift}, ()) == 0
        if key.startswith("conv/"):
            closed[gate.log_alpha.argmax()] = False
        soft = torch.sigmoid(gate.log_alpha / TEMPERATURE * HARDENED_SLOPE)
        masks[key] = soft.masked_fill(closed, 0.0)
    return masks
