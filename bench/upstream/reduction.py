"""Replaces linear layers by others of the same size, in a new model. The original model is not changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from torch import Tensor

from bench.upstream.config import ReducedLinear, UpstreamConfig
from bench.upstream.initialisation import uninitialised
from bench.upstream.int8_products import step_and_zero_point
from bench.upstream.model import UpstreamModel
from bench.upstream.reduced_linears import WEIGHT_LEVELS, quantised_weight

InputRanges = Mapping[str, tuple[float, float]]
"""Lowest and highest input by the path of a single linear layer. Low-rank layers consist of two, ``<path>.down`` and
``<path>.up``."""


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


def single_linears(shape: UpstreamConfig, modules: Collection[str]) -> list[str]:
    """List the single linear layers of some layers, dense or low-rank, as in `InputRanges`."""
    low_rank = {path for path, reduced in shape.reduced_linears if reduced.rank is not None}
    return [f"{path}{part}" for path in modules for part in ((".down", ".up") if path in low_rank else ("",))]


def quantised(model: UpstreamModel, modules: Collection[str], ranges: InputRanges | None = None) -> UpstreamModel:
    """Return a model on the CPU in which some linear layers, dense or low-rank, have int8 weights.

    Args:
        model: may have any linear layers.
        modules: paths of the float32 layers to quantise.
        ranges: fixed ranges of their inputs. None: every call measures them.
    """
    before = dict(model.config.reduced_linears)
    activations: Literal["dynamic", "static"] = "dynamic" if ranges is None else "static"
    reduced = {
        path: ReducedLinear(rank=before[path].rank if path in before else None, dtype="int8", activations=activations)
        for path in modules
    }
    state = {key: value.cpu() for key, value in model.state_dict().items()}
    for key in single_linears(model.config, modules):
        weight = quantised_weight(state[f"{key}.weight"], WEIGHT_LEVELS[activations])
        state[f"{key}.weight"], state[f"{key}.scale"] = weight
        if ranges is not None:
            state[f"{key}.input_scale"], state[f"{key}.input_zero_point"] = step_and_zero_point(*ranges[key])
    return _rebuilt(model, reduced, state)


def dequantised(model: UpstreamModel, modules: Collection[str] | None = None) -> UpstreamModel:
    """Return a model with float32 weights in place of int8 ones, with the same values. Their inputs are not rounded.

    Args:
        model: may have any linear layers.
        modules: paths of the layers to change. None: all int8 layers.
    """
    state = model.state_dict()
    is_int8 = [path for path, each in model.config.reduced_linears if each.dtype == "int8"]
    chosen = [path for path in is_int8 if modules is None or path in modules]
    for key in single_linears(model.config, chosen):
        state[f"{key}.weight"] = state[f"{key}.weight"] * state.pop(f"{key}.scale")[:, None]
        state.pop(f"{key}.input_scale", None)
        state.pop(f"{key}.input_zero_point", None)
    reduced = []
    for path, each in model.config.reduced_linears:
        if path not in chosen:
            reduced.append((path, each))
        elif each.rank is not None:
            reduced.append((path, ReducedLinear(rank=each.rank)))
    rebuilt = uninitialised(model.config.model_copy(update={"reduced_linears": tuple(reduced)}))
    rebuilt.load_state_dict(state)
    return rebuilt.train(model.training)


def _rebuilt(model: UpstreamModel, reduced: Mapping[str, ReducedLinear], state: Mapping[str, Tensor]) -> UpstreamModel:
    rebuilt = uninitialised(model.config.with_reduced_linears(reduced)).to(state["layer_norm.weight"])
    rebuilt.load_state_dict(state)
    return rebuilt.train(model.training)
