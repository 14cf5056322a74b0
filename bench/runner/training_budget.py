"""Gives all compressors of a sweep the same training: as many updates, or as many MACs, as the first one has."""

from __future__ import annotations

from typing import Any, Literal

from bench import registry
from bench.config.overrides import validated
from bench.config.run import ModelSource, RunConfig
from bench.contracts import ComparableTraining
from bench.errors import UserError
from bench.runner.checks import compressible
from bench.upstream import UpstreamConfig, load_upstream

TrainingBudget = Literal["updates", "macs", "preset"]


def with_equal_training(config: RunConfig, budget: TrainingBudget) -> RunConfig:
    """Return the configuration with every recipe stretched or shortened to the first one's training.

    Args:
        config: of a sweep.
        budget: ``updates`` or ``macs``, compared at each sparsity; ``preset`` leaves all recipes as they are, and so
            does a sweep of one compressor.

    Raises:
        UserError: a compressor does not say what its training costs, or its recipe does not fit.
    """
    rows = config.compressors()
    first = next(iter(rows.values()), None)
    if first is None or budget == "preset" or all(source.compressor == first.compressor for source in rows.values()):
        return config
    teacher = compressible(load_upstream(config.teacher or ""), config.teacher).config if budget == "macs" else None
    models = dict(config.models)
    for row, source in rows.items():
        if source.compressor != first.compressor:
            wanted = _recipe(_first_at(source.settings.get("sparsity"), first, config))
            models[row] = _with_training_of(source, wanted, teacher)
    return config.model_copy(update={"models": models})


def _first_at(sparsity: object, first: ModelSource, config: RunConfig) -> ModelSource:
    """Find the first compressor's row at a sparsity; its only or first one where either has a size of its own."""
    same = [source for source in config.compressors().values() if source.compressor == first.compressor]
    return next((source for source in same if source.settings.get("sparsity") == sparsity), first)


def _recipe(source: ModelSource) -> ComparableTraining:
    name = source.compressor or ""
    recipe = registry.load("bench.compressors", name).config_type.model_validate(source.settings)
    if not isinstance(recipe, ComparableTraining) or not recipe.num_updates():
        raise UserError(
            f"Expected compressors that train, and say what that costs. Found {name}, which does not. "
            "Leave it out, or use --budget preset."
        )
    return recipe


def _with_training_of(source: ModelSource, wanted: ComparableTraining, teacher: UpstreamConfig | None) -> ModelSource:
    """Stretch or shorten a row's recipe to the updates of another; to its MACs where the teacher's shape is given."""
    recipe = _recipe(source)
    num_updates = wanted.num_updates()
    if teacher is not None:
        macs_an_update = recipe.training_macs(teacher) / recipe.num_updates()
        num_updates = round(wanted.training_macs(teacher) / macs_an_update)
    changed: Any = recipe.with_num_updates(num_updates)
    values = changed.model_dump(mode="json")
    validated(type(changed), values, f"compressor {source.compressor} in {num_updates} updates")
    return source.model_copy(update={"settings": values})
