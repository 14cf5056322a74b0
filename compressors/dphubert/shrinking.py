"""Shrink a gated student while it trains: remove closed units from the model and from the optimiser's state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from bench.upstream.gate_kinds import HardConcrete, open_probability
from bench.upstream.gates import Gates

CLOSED_FOR_GOOD = 0.05
"""A unit counts as closed if its gate opens in a smaller share of the passes."""
SHRINK_UPDATES = 10
"""Updates between two checks of the gates."""

_PLACES = {
    "attention": ("head", {"q_proj": 0, "k_proj": 0, "v_proj": 0, "out_proj": 1}),
    "feed_forward": ("interm", {"intermediate_dense": 0, "output_dense": 1}),
}
"""By block: its kind of unit, and the dimension of the units in the weights of its linear layers."""
_LINEAR = re.compile(r"layers\.(\d+)\.(attention|feed_forward)\.(\w+)\.(weight|bias)$")


@torch.no_grad()
def open_units(gates: Gates) -> dict[str, Tensor]:
    """Mark the heads and feed-forward units that have not closed.

    The unit of each layer with the highest ``log_alpha`` always stays, so that the block keeps its output bias.
    Convolutions stay whole, as channels of zeros matter to the normalisation that follows. Blocks with their own gate
    stay whole too.

    Returns:
        A bool mask (units,) for each gate of heads or feed-forward units, by the gate's key.
    """
    masks = {}
    for key, module in gates.items():
        if key.split("/")[0] in {"head", "interm"}:
            log_alpha = cast("HardConcrete", module).log_alpha
            masks[key] = (open_probability(log_alpha) >= CLOSED_FOR_GOOD).index_fill(0, log_alpha.argmax(), 1)
    return masks


def without_closed(name: str, value: Tensor, masks: Mapping[str, Tensor], head_dim: int) -> Tensor:
    """Select the open units of a weight, of a gate, or of the optimiser's moments of either.

    Args:
        name: name of the parameter in a module that contains the model and, as ``gates``, its gates.
        value: a tensor of the parameter's shape.
        masks: result of `open_units`.
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
    """Replace the parameters of an optimiser, and shrink their moments.

    Args:
        optimizer: optimiser of ``before``. It keeps its groups and their learning rates.
        before: old parameters by name.
        after: new parameters by name; some may be unchanged.
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
