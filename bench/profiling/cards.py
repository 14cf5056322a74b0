"""A model's size and origin in a leaderboard row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contracts import target_sparsity
from bench.profiling.measured_macs import measured_macs
from bench.stacking import by_part
from bench.store.records import ModelCard
from bench.upstream import AnyUpstream, PluginUpstream, UpstreamModel
from bench.upstream.cost import count_parameters, superb_macs
from bench.upstream.fbank import superb_fbank_macs


def model_card(upstream: AnyUpstream, provenance: Mapping[str, Any]) -> ModelCard:
    """Measure a model for the leaderboard.

    Args:
        upstream: the model.
        provenance: of a model that the suite compressed: ``compressor``, ``teacher``, ``teacher_params``, ``recipe``,
            ``from`` if it started from another model, ``target_sparsity`` if the settings do not contain it; empty for
            other models.
    """
    params = _trainable(upstream)
    teacher_params = provenance.get("teacher_params")
    compressor = provenance.get("compressor", "none")
    recipe = {**provenance.get("recipe", {})}
    targets = {part["target"] for part in by_part(compressor, recipe).values() if isinstance(part.get("target"), str)}
    if "target_sparsity" in provenance:
        recipe["sparsity"] = provenance["target_sparsity"]
    return ModelCard(
        compressor=compressor,
        teacher=provenance.get("teacher"),
        start=(provenance.get("from") or {}).get("reference"),
        target=targets.pop() if len(targets) == 1 else None,
        target_sparsity=target_sparsity(recipe, teacher_params),
        sparsity=1 - params / teacher_params if teacher_params else None,
        params=params,
        size_bytes=sum(tensor.numel() * tensor.element_size() for tensor in upstream.state_dict().values()),
        **_macs(upstream),
    )


def _trainable(module: AnyUpstream) -> int:
    if isinstance(module, UpstreamModel):
        return count_parameters(module.config)
    return sum(parameter.numel() for parameter in module.parameters())


def _macs(upstream: AnyUpstream) -> dict[str, int]:
    if isinstance(upstream, PluginUpstream):
        return {"macs": measured_macs(upstream)}
    macs = superb_macs(upstream.config) if isinstance(upstream, UpstreamModel) else superb_fbank_macs()
    return {"macs": macs.macs, "macs_superb": macs.macs_superb}
