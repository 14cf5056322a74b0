"""Which hidden states of the teacher the student learns from."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.errors import UserError
from compressors.settings import DistillationConfig, LayerGroups


def layer_groups(config: DistillationConfig, num_layers: int) -> LayerGroups:
    """Return the states to distil from a teacher of ``num_layers``, in groups.

    Groups share a projection, or with ``targets=groups`` are averaged. Clustered groups have to be found before; see
    `compressors.objectives.layer_clusters`.

    Raises:
        UserError: the configuration names a state that the teacher does not have, no state, or one twice.
    """
    if config.distillation_layers is None:
        return ((0,), thirds(num_layers))
    groups = config.distillation_layers
    layers = [layer for group in groups for layer in group]
    if not layers or not all(groups) or len(set(layers)) != len(layers):
        raise UserError(
            f"Expected groups of distinct layers. Found distillation_layers={json.dumps(groups)}. "
            "Name each layer once, e.g. [[0], [4, 8, 12]]."
        )
    if min(layers) < 0 or max(layers) > num_layers:
        raise UserError(
            f"Expected distillation layers from 0 (the feature projection) to {num_layers} (the teacher's last). "
            f"Found distillation_layers={json.dumps(groups)}. Choose others, or leave the option out."
        )
    return groups


def thirds(num_layers: int) -> tuple[int, ...]:
    """Return the hidden states at one and two thirds of the depth, and the last: 4, 8 and 12 of 12 layers."""
    return tuple(sorted({round(num_layers * third / 3) for third in (1, 2, 3)} - {0}))


def each_alone(layers: Sequence[int]) -> LayerGroups:
    """Return groups of one state each."""
    return tuple((layer,) for layer in layers)


def require_layers(config: DistillationConfig, num_layers: int) -> None:
    """Refuse states or clusters that a teacher of ``num_layers`` does not have.

    Raises:
        UserError: as `layer_groups`, or there are more clusters than states.
    """
    layer_groups(config, num_layers)
    if config.clusters_layers and config.num_groups > num_layers + 1:
        raise UserError(
            f"Expected at most {num_layers + 1} groups of hidden states, as many as this teacher has states. Found "
            f"num_groups={config.num_groups}. Lower it."
        )
