"""What a model costs: parameters, bytes, MACs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from bench.store.records import ModelCard
from bench.upstream import UpstreamModel
from bench.upstream.cost import count_parameters, superb_macs


def model_card(upstream: nn.Module, provenance: Mapping[str, Any], teacher: nn.Module | None) -> ModelCard:
    """Measure a model for the leaderboard.

    Args:
        upstream: the model.
        provenance: of a compressed model: ``compressor``, ``teacher``, ``recipe``; empty for others.
        teacher: what sparsity refers to; none for a model that was not compressed.
    """
    size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in upstream.state_dict().values())
    recipe = provenance.get("recipe", {})
    return ModelCard(
        compressor=provenance.get("compressor", "none"),
        teacher=provenance.get("teacher"),
        target_sparsity=recipe.get("sparsity"),
        sparsity=None if teacher is None else 1 - _trainable(upstream) / _trainable(teacher),
        params=_trainable(upstream),
        size_bytes=size_bytes,
        **_macs(upstream),
    )


def _trainable(module: nn.Module) -> int:
    if isinstance(module, UpstreamModel):
        return count_parameters(module.config)
    return sum(parameter.numel() for parameter in module.parameters())


def _macs(upstream: nn.Module) -> dict[str, int]:
    if not isinstance(upstream, UpstreamModel):
        return {}
    macs = superb_macs(upstream.config)
    return {"macs": macs.macs, "macs_superb": macs.macs_superb}
