"""Shrinking a gated student while it trains: what has closed for good leaves the model, and the optimiser's state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from bench.upstream.gates import Gates, HardConcrete, open_probability

CLOSED_FOR_GOOD = 0.05
"""A unit whose gate opens in a smaller share of the passes has closed for good."""
SHRINK_UPDATES = 10
"""Updates between two looks at the gates."""

_PLACES = {
    "attention": ("head", {"q_proj": 0, "k_proj": 0, "v_proj": 0, "out_proj": 1}),
    "feed_forward": ("interm", {"intermediate_dense": 0, "output_dense": 1}),
}
"""By block: its units, and the dimension along which they lie in the weights of its linear layers."""
_LINEAR = re.compile(r"layers\.(\d+)\.(attention|feed_forward)\.(\w+)\.(weight|bias)$")


@torch.no_grad()
def open_units(gates: Gates) -> dict[str, Tensor]:
    """Mark what has not closed for good, keyed as the gates.

    Of a layer the unit with the highest ``log_alpha`` is always among it, so that the block keeps its output bias.
    Convolutions stay whole: the normalisation after one would feel the absence of channels that are zero. So do blocks
    with a gate of their own.

    Returns:
        A bool mask (units,) of each gate of heads or feed-forward units.
    """
    masks = {}
    for key, module in gates.items():
        if key.split("/")[0] in {"head", "interm"}:
            log_alpha = cast("HardConcrete", module).log_alpha
            masks[key] = (open_probability(log_alpha) >= CLOSED_FOR_GOOD).index_fill(0, log_alpha.argmax(), 1)
    return masks


def without_closed(name: str, value: Tensor, masks: Mapping[str, Tensor], head_dim: int) -> Tensor:
    """Select what is left of a weight, of a gate, or of an optimiser's moments of either.

    Args:
        name: of the parameter in a module that holds the model and, as ``gates``, its gates.
        value: of the parameter's shape.
        masks: as `open_units` returns them.
        head_dim: features of a head.
    """
    if name.endswith(".log_alpha"):
        mask = masks.get(name.removesuffix(".log_alpha").removeprefix("gates."))
        return value if mask is None else value[mask]
    found = _LINEAR.search(name)
    if found is None:
        return value
    layer, block, linear, kind = found.groups()
    unit, dims = _PLACES[block]
    mask = masks.get(f"{unit}/{layer}")
    if mask is None or linear not in dims or (kind == "bias" and dims[linear]):
        return value
    mask = mask.repeat_interleave(head_dim) if unit == "head" else mask
    return value.index_select(dims[linear], mask.nonzero().flatten())


def carry_over(
    optimizer: Optimizer,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    head_dim: int,
) -> None:
    """Let an optimiser go on with new parameters, with what is left of the moments of the old ones.

    Args:
        optimizer: of ``before``; keeps its groups and their learning rates.
        before: parameters by name.
        after: their successors, some of which may be the same.
        masks: as in `without_closed`.
        head_dim: as in `without_closed`.
    """
    names = {parameter: name for name, parameter in before.items()}
    for group in optimizer.param_groups:
        group["params"] = [after[names[parameter]] for parameter in group["params"]]
    for name, parameter in after.items():
        moments: dict[str, Any] | None = optimizer.state.pop(before[name], None)
        if moments is not None:
            optimizer.state[parameter] = {
                key: without_closed(name, value, masks, head_dim) if value.shape == before[name].shape else value
                for key, value in moments.items()
            }
