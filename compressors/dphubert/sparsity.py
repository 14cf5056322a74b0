"""Sparsity: the target's ramp, the augmented Lagrangian that holds it, and masks of exactly the size wanted.

Source: DPHuBERT (arXiv 2305.17651) section 3.3, after Wang et al., Structured Pruning of Large Language Models
(arXiv 1910.04732) equation 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from bench.upstream import UpstreamConfig
from bench.upstream.gates import HARDENED_SLOPE, TEMPERATURE, Gates, HardConcrete
from bench.upstream.pruning import pruned_config
from compressors.size.budget import Budget, budget_for
from compressors.size.pruning import PruningConfig, Unit, levels_within_budget, rounded

CLOSED = -40.0
"""A shift of ``log_alpha`` that closes any gate."""

FIXED_SCHEDULE_FIELDS = frozenset(
    {"gate_learning_rate", "multiplier_learning_rate", "initial_quadratic_multiplier", "sparsity_warmup_updates"}
)


class SparsityConfig(PruningConfig):
    """How gates close to a budget; a compressor's configuration inherits it."""

    schedule: Literal["fixed", "auto"] = "fixed"
    """``fixed`` is DPHuBERT's, whose rates and ramp have to fit the number of updates. ``auto`` fits ramp, multipliers
    and the gates' learning rate to the stage; the next four settings then have no effect."""
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

    shrink: bool = False
    """Let heads and feed-forward units leave the student during training, once their gates open in less than one pass
    of twenty, so that late updates cost less; the last one of a layer, and convolutions, stay to the stage's end."""

    def fields_without_effect(self) -> Collection[str]:
        """Name what only the fixed schedule needs."""
        return FIXED_SCHEDULE_FIELDS if self.schedule == "auto" else ()


def target_sparsity(final: float, update: int, warmup_updates: int, initial: float = 0.0) -> float:
    """Return the sparsity aimed at after ``update`` finished updates, of which the first ``warmup_updates`` raise it.

    ``initial`` is the student's own before the first.

    Source: DPHuBERT section 4.1.
    """
    return final if update >= warmup_updates else initial + (final - initial) * update / warmup_updates


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


@torch.no_grad()
def hardened_sparsity(gates: Gates, budget: Budget, config: SparsityConfig) -> float:
    """Return the sparsity of the model that pruning by the gates' own expectation would leave."""
    masks = _shifted_masks(gates, dict.fromkeys(config.units, 0.0), config.round_to)
    return budget.reached(pruned_config(gates.shape, masks, keep_position_bias=config.keep_position_bias))


@torch.no_grad()
def final_masks(gates: Gates, shape: UpstreamConfig, config: SparsityConfig) -> dict[str, Tensor]:
    """Decide which gates close for good; what stays open keeps its soft value.

    Args:
        gates: trained.
        shape: the teacher's, which the budget refers to; the gated model may have shrunk since.
        config: ``threshold`` says by which rule.

    Returns:
        Masks as `bench.upstream.pruning.prune` takes them; every convolution keeps a channel.
    """
    if config.threshold == "reference":
        return _shifted_masks(gates, dict.fromkeys(config.units, 0.0), config.round_to)
    budget = budget_for(config, shape)

    def size(shifts: Mapping[Unit, float]) -> int:
        masks = _shifted_masks(gates, shifts, config.round_to)
        return budget.measure(pruned_config(gates.shape, masks, keep_position_bias=config.keep_position_bias))

    shifts = levels_within_budget(size, budget.wanted, config.units, lowest=CLOSED, highest=-CLOSED)
    return _shifted_masks(gates, shifts, config.round_to)


def _shifted_masks(gates: Gates, shifts: Mapping[Unit, float], round_to: int) -> dict[str, Tensor]:
    """Return masks with as many zeros as gates with ``log_alpha`` shifted by their unit's shift, but for rounding."""
    was_training = gates.training
    gates.eval()
    masks = {}
    for key, module in gates.items():
        gate = cast("HardConcrete", module)
        unit = cast("Unit", key.split("/")[0])
        shifted = functional_call(gate, {"log_alpha": gate.log_alpha + shifts[unit]}, ())
        num_kept = rounded(unit, int(shifted.count_nonzero()), len(shifted), round_to)
        soft = torch.maximum(torch.sigmoid(gate.log_alpha / TEMPERATURE * HARDENED_SLOPE), gate())
        closed = gate.log_alpha.topk(len(soft) - num_kept, largest=False).indices
        masks[key] = soft.index_fill(0, closed, 0.0)
    gates.train(was_training)
    return masks
