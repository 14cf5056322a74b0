"""Groups of linear layers of an upstream."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from bench.upstream import UpstreamConfig

LinearGroup = Literal["attention", "feed_forward", "projection"]


def linears_of(shape: UpstreamConfig, groups: Collection[LinearGroup]) -> list[str]:
    """List the paths of linear layers.

    Args:
        shape: shape of the model.
        groups: ``attention`` (queries, keys, values and the output), ``feed_forward`` (both layers), ``projection``
            (from the extractor's features to the transformer's width).
    """
    return [path for path in shape.linear_sizes if _group(path) in groups]


def _group(path: str) -> LinearGroup:
    if path.startswith("feature_projection."):
        return "projection"
    return "attention" if ".attention." in path else "feed_forward"
