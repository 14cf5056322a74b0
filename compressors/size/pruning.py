"""How much to prune for a budget. All methods that prune use it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.cost import kept_units
from bench.upstream.pruning import prune, pruned_config
from compressors.settings import PruningConfig, Unit
from compressors.size.budget import TOLERANCE, Budget, budget_for

logger = logging.getLogger(__name__)

COARSE_TO_FINE: tuple[Unit, ...] = ("ffnlayer", "attlayer", "head", "conv", "interm")
"""Kinds of units by the number of parameters of one unit, the largest first."""

BISECTIONS = 24


def rounded(unit: Unit, num_kept: int, num_units: int, round_to: int) -> int:
    """Round the number of units that a layer keeps to a multiple of ``round_to``, or to its whole width.

    Args:
        unit: kind of the units. Heads and blocks are not rounded. A convolution keeps at least ``round_to`` channels.
        num_kept: number of units before rounding.
        num_units: number of units of the layer.
        round_to: as in `PruningConfig`.
    """
    if unit not in ("conv", "interm"):
        return num_kept
    least = round_to if unit == "conv" else 0
    return min(max(round(num_kept / round_to) * round_to, least), num_units)


def largest_sparsity(shape: UpstreamConfig, budget: Budget, config: PruningConfig) -> float:
    """Return the largest sparsity that pruning can reach: the fewest channels, and no other units."""
    smallest = {
        f"{unit}/{index}": torch.arange(count) < rounded(unit, int(unit == "conv"), count, config.round_to)
        for unit in config.units
        for index, count in enumerate(kept_units(shape)[unit])
        if count
    }
    return budget.reached(pruned_config(shape, smallest, keep_position_bias=config.keep_position_bias))


def require_reachable(teacher: UpstreamConfig, config: PruningConfig, start: UpstreamConfig | None = None) -> None:
    """Refuse a budget that the chosen units cannot reach for a teacher of this shape.

    Args:
        teacher: its shape.
        config: says the budget, and what is pruned.
        start: shape of the model to prune, if it is not the teacher.

    Raises:
        UserError: names the smallest size that they can reach.
    """
    budget = budget_for(config, teacher)
    largest = largest_sparsity(start or teacher, budget, config)
    if budget.sparsity > largest:
        units = ", ".join(config.units)
        if config.params is not None:
            raise UserError(
                f"Expected a size that pruning {units} can reach: at least {round((1 - largest) * budget.original)} "
                f"parameters for this teacher. Found params={config.params}. Raise it, or add pruning units."
            )
        raise UserError(
            f"Expected a sparsity that pruning {units} can reach: at most {largest:.4f} of this teacher's "
            f"{budget.quantity}. Found {config.final_sparsity}. Lower the sparsity, or add pruning units."
        )


def levels_within_budget(
    size: Callable[[Mapping[Unit, float]], int],
    wanted: int,
    units: Sequence[Unit],
    *,
    lowest: float,
    highest: float,
) -> dict[Unit, float]:
    """Find the level of each kind of unit at which a model has the wanted size, or a little less.

    All kinds share one level if that suffices. One coarse unit more or less can miss the size, so coarse kinds get the
    level just above it if the finer ones can compensate with theirs.

    Args:
        size: returns the size of the pruned model for a level of each of ``units``. It grows with each level.
        wanted: largest size allowed.
        units: kinds to prune.
        lowest: level that removes all units that may be removed.
        highest: level that keeps all units.
    """
    ordered = [unit for unit in COARSE_TO_FINE if unit in units]
    levels = dict.fromkeys(ordered, highest)
    for first, coarsest in enumerate(ordered):
        below, above = _bracket(size, wanted, levels, ordered[first:], lowest, highest)
        levels.update(dict.fromkeys(ordered[first + 1 :], lowest) | {coarsest: above})
        if size(levels) > wanted:
            levels[coarsest] = below
    return levels


def _bracket(
    size: Callable[[Mapping[Unit, float]], int],
    wanted: int,
    levels: Mapping[Unit, float],
    free: Sequence[Unit],
    low: float,
    high: float,
) -> tuple[float, float]:
    """Find by bisection the highest common level of the ``free`` units within ``wanted``, and one just above it."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if size({**levels, **dict.fromkeys(free, middle)}) <= wanted:
            low = middle
        else:
            high = middle
    return low, high


def pruned_model(model: UpstreamModel, masks: Mapping[str, Tensor], config: PruningConfig) -> UpstreamModel:
    """Prune a model by masks; the configuration says which biases to keep. See `bench.upstream.pruning.prune`."""
    return prune(model, masks, keep_position_bias=config.keep_position_bias, keep_output_bias=config.keep_output_bias)


def report_size(shape: UpstreamConfig, budget: Budget, config: PruningConfig, *, hint: str = "") -> None:
    """Log the size that pruning has reached, as a warning if it misses the budget.

    Args:
        shape: shape of the pruned model.
        budget: the budget.
        config: names the pruned units.
        hint: another possible reason than the units.
    """
    logger.info("pruned to a sparsity of %.4f; the target is %.4f", budget.reached(shape), budget.sparsity)
    size = budget.measure(shape)
    if abs(size / budget.wanted - 1) > TOLERANCE:
        logger.warning(
            "pruned to %d %s; the budget is %d: units %s%s cannot come closer%s",
            size,
            budget.quantity,
            budget.wanted,
            ", ".join(config.units),
            f" in multiples of {config.round_to}" if config.round_to > 1 else "",
            hint,
        )
