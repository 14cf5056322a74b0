"""The weights of a unit that pruning removes: those that compute it, and those that read it.

Source: Fang et al., DepGraph (arXiv 2301.12900), for the groups of weights that go together.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from bench.upstream.config import UpstreamConfig
from bench.upstream.model import UpstreamModel

_ATTENTION = "layers.{}.attention."
_FEED_FORWARD = "layers.{}.feed_forward."
_QUERY_KEY_VALUE = (f"{_ATTENTION}q_proj.weight", f"{_ATTENTION}k_proj.weight", f"{_ATTENTION}v_proj.weight")
_WRITERS: Mapping[str, tuple[str, ...]] = {
    "conv": ("feature_extractor.conv_layers.{}.conv.weight",),
    "head": _QUERY_KEY_VALUE,
    "attlayer": _QUERY_KEY_VALUE,
    "interm": (f"{_FEED_FORWARD}intermediate_dense.weight",),
    "ffnlayer": (f"{_FEED_FORWARD}intermediate_dense.weight",),
}
"""Weights that compute units. Units are groups of their rows."""
_READERS: Mapping[str, tuple[str, ...]] = {
    "conv": ("feature_projection.projection.weight",),
    "head": (f"{_ATTENTION}out_proj.weight",),
    "attlayer": (f"{_ATTENTION}out_proj.weight", f"{_ATTENTION}out_proj.bias"),
    "interm": (f"{_FEED_FORWARD}output_dense.weight",),
    "ffnlayer": (f"{_FEED_FORWARD}output_dense.weight", f"{_FEED_FORWARD}output_dense.bias"),
}
"""Weights that read units. Units are groups of their columns; for ``conv`` those of the last convolution. Without them
a unit has no effect. A whole block also has an output bias."""


def unit_weights(model: UpstreamModel, key: str, count: int) -> list[Tensor]:
    """Return the weights of each unit of a layer, in parts of shape (units, weights of one).

    Args:
        model: the model.
        key: ``<unit>/<layer index>``, as in `gates.Gates`.
        count: number of units.
    """
    written = [model.get_parameter(name).reshape(count, -1) for name in writers(key)]
    return [*written, *(by_column(model.get_parameter(name), count) for name in readers(key, model.config))]


def writers(key: str) -> list[str]:
    """Name the weights that compute the units of a key."""
    unit, index = key.split("/")
    return [name.format(index) for name in _WRITERS[unit]]


def readers(key: str, config: UpstreamConfig) -> list[str]:
    """Name the weights that read the units of a key."""
    unit, index = key.split("/")
    if unit == "conv" and int(index) + 1 < len(config.conv_layers):
        return [f"feature_extractor.conv_layers.{int(index) + 1}.conv.weight"]
    return [name.format(index) for name in _READERS[unit]]


def by_column(weight: Tensor, count: int) -> Tensor:
    """Group the columns of a weight by the ``count`` units that they read, (units, weights of one)."""
    return (weight if weight.ndim == 1 else weight.transpose(0, 1)).reshape(count, -1)
