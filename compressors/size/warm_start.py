"""Warm starts: compress an existing compressed model again, in its own shape or a smaller one.

See `bench.contracts.WarmStart`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from typing_extensions import Self

from bench.contracts import Context
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from compressors.size.budget import TOLERANCE, Budget, budget_for
from compressors.size.several_sizes import SizesConfig
from compressors.training.staged_training import StagedTraining

SHARE_OF_UPDATES = 0.1
"""Share of the recipe's updates that a warm start uses by default."""
FEWEST_UPDATES = 10
"""Fewest updates of a warm start by default, unless the recipe has fewer."""

_OWN = {"schema_version", "dropout", "conv_layers", "layers", "relative_position", "reduced_linears"}
"""Fields in which a pruned model may differ from its teacher, or that are compared separately."""


class WarmStartConfig(SizesConfig):
    """Base of the configuration of methods that prune and support warm starts."""

    def warm_started(self, start: UpstreamConfig, teacher: UpstreamConfig, chosen: Collection[str]) -> Self:
        """Return the recipe for a warm start; see `bench.contracts.Compressor.warm_started`."""
        require_part(start, teacher)
        first = self.each_size()[0]
        budget = budget_for(first, teacher)
        changes: dict[str, object] = {}
        asks_to_prune = "keep_shape" in chosen and not self.keep_shape
        if not asks_to_prune and not {"sparsity", "params"} & set(chosen):
            require_smaller(start, budget)
            changes = {"sparsity": budget.reached(start), "keep_shape": True}
        elif budget.measure(start) <= budget.wanted:
            if self.sizes or budget.measure(start) < (1 - TOLERANCE) * budget.wanted:
                raise UserError(_too_small(start, budget, first))
            changes = {"keep_shape": True}
        elif self.keep_shape:
            raise UserError(
                f"keep_shape=true keeps the size of --from, and {_size_asked(first)} asks for a smaller one. Leave one "
                "of them out."
            )
        return shortened(self.model_copy(update=changes), self.num_updates(), chosen)


Config = TypeVar("Config", bound=StagedTraining)


def shortened(config: Config, num_updates: int, chosen: Collection[str]) -> Config:
    """Return the recipe with a tenth of ``num_updates``, unless the user chose a number of updates."""
    if any(name in config.stages() or name.endswith(".updates") for name in chosen):
        return config
    tenth = max(round(SHARE_OF_UPDATES * num_updates), FEWEST_UPDATES)
    return config.with_num_updates(min(num_updates, tenth))


def require_start(teacher: UpstreamModel, config: WarmStartConfig, context: Context) -> None:
    """Refuse a warm start from a model that does not fit, and settings that need a warm start without one.

    Raises:
        UserError: names what differs from the teacher.
    """
    if context.start is not None:
        require_part(context.start.model.config, teacher.config)
    elif config.keep_shape:
        raise UserError(
            "Expected --from with keep_shape=true. Found none. Name the model whose shape to keep, or leave it out."
        )


def start_shape(context: Context) -> UpstreamConfig | None:
    """Return the shape of the model of a warm start, if any."""
    return context.start.model.config if context.start else None


def require_part(start: UpstreamConfig, teacher: UpstreamConfig, option: str = "--from") -> None:
    """Refuse a model that cannot be a pruned teacher of this shape.

    Args:
        start: shape of the model.
        teacher: shape of the teacher.
        option: what the user named the model with.

    Raises:
        UserError: names the first difference.
    """
    found = _difference(start, teacher)
    if found:
        raise UserError(
            f"Expected a part of the teacher as {option}. Found another kind of model: {found}. "
            "Name the --teacher that it was made from."
        )


def require_smaller(start: UpstreamConfig, budget: Budget) -> None:
    """Refuse a model as large as the teacher, as its size would be kept.

    Raises:
        UserError: it is as large.
    """
    if budget.measure(start) >= budget.original:
        raise UserError(
            "Expected a compressed model as --from. Found one as large as the teacher. Name another, or ask for a "
            "size with --set sparsity=..."
        )


def _too_small(start: UpstreamConfig, budget: Budget, config: SizesConfig) -> str:
    return (
        f"Expected a size below that of --from, whose sparsity is {budget.reached(start):.4f}. Found "
        f"{_size_asked(config)}. Ask for a smaller model, or leave that out to keep the shape."
    )


def _size_asked(config: SizesConfig) -> str:
    return f"sparsity={config.final_sparsity}" if config.params is None else f"params={config.params}"


def _difference(start: UpstreamConfig, teacher: UpstreamConfig) -> str:
    ours, theirs = _kind(start), _kind(teacher)
    for name in ours:
        if ours[name] != theirs[name]:
            return f"its {name} is {ours[name]}, the teacher's {theirs[name]}"
    for index, (conv, whole) in enumerate(zip(start.conv_layers, teacher.conv_layers, strict=True)):
        if conv.channels > whole.channels:
            return f"its convolution {index} has {conv.channels} channels, the teacher's {whole.channels}"
    for index, (layer, larger) in enumerate(zip(start.layers, teacher.layers, strict=True)):
        if layer.feed_forward > larger.feed_forward or not set(layer.heads) <= set(larger.heads):
            return f"its layer {index} has heads or feed-forward units that the teacher's does not have"
    return ""


def _kind(shape: UpstreamConfig) -> dict[str, object]:
    """Return by name what pruning does not change."""
    position = shape.relative_position
    return {
        **{name: getattr(shape, name) for name in UpstreamConfig.model_fields if name not in _OWN},
        "number of layers": shape.num_layers,
        "number of low-rank or int8 linear layers": len(shape.reduced_linears),
        "convolutions' kernels and strides": [(conv.kernel, conv.stride) for conv in shape.conv_layers],
        "relative position": position and (position.num_buckets, position.max_distance),
    }
