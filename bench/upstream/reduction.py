"""Replaces linear layers by others of the same size, in a new model. The original model is not changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from bench.upstream.config import ReducedLinear
from bench.upstream.initialisation import uninitialised
from bench.upstream.model import UpstreamModel
from bench.upstream.reduced_linears import quantised_weight


def factorised(model: UpstreamModel, factors: Mapping[str, tuple[Tensor, Tensor]]) -> UpstreamModel:
    """Return a model in which some dense linear layers are low-rank.

    Args:
        model: may have any linear layers.
        factors: for each dense layer, by module path, the two factors of its weight: (rank, inputs) and
            (outputs, rank). The weight is the second times the first.
    """
    state = model.state_dict()
    for path, (down, up) in factors.items():
        del state[f"{path}.weight"]
        state |= {f"{path}.down.weight": down, f"{path}.up.weight": up, f"{path}.up.bias": state.pop(f"{path}.bias")}
    return _rebuilt(model, {path: ReducedLinear(rank=len(down)) for path, (down, _) in factors.items()}, state)


def quantised(model: UpstreamModel, modules: Collection[str]) -> UpstreamModel:
    """Return a model on the CPU in which some linear layers, dense or low-rank, have int8 weights.

    Args:
        model: may have any linear layers.
        modules: paths of the float32 layers to quantise.
    """
    before = dict(model.config.reduced_linears)
    reduced = {
        path: ReducedLinear(rank=before[path].rank if path in before else None, dtype="int8") for path in modules
    }
    state = {key: value.cpu() for key, value in model.state_dict().items()}
    for path, each in reduced.items():
        for part in ("",) if each.rank is None else (".down", ".up"):
            key = f"{path}{part}"
            state[f"{key}.weight"], state[f"{key}.scale"] = quantised_weight(state[f"{key}.weight"])
    return _rebuilt(model, reduced, state)


def dequantised(model: UpstreamModel) -> UpstreamModel:
    """Return a model with float32 weights in place of int8 ones, with the same values. Its inputs are not quantised."""
    state = model.state_dict()
    reduced = []
    for path, each in model.config.reduced_linears:
        if each.dtype == "int8":
            for part in ("",) if each.rank is None else (".down", ".up"):
                state[f"{path}{part}.weight"] = (
                    state[f"{path}{part}.weight"] * state.pop(f"{path}{part}.scale")[:, None]
                )
        if each.rank is not None:
            reduced.append((path, ReducedLinear(rank=each.rank)))
    rebuilt = uninitialised(model.config.model_copy(update={"reduced_linears": tuple(reduced)}))
    rebuilt.load_state_dict(state)
    return rebuilt.train(model.training)


def _rebuilt(model: UpstreamModel, reduced: Mapping[str, ReducedLinear], state: Mapping[str, Tensor]) -> UpstreamModel:
    rebuilt = uninitialised(model.config.with_reduced_linears(reduced)).to(state["layer_norm.weight"])
    rebuilt.load_state_dict(state)
    return rebuilt.train(model.training)
