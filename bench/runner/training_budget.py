"""Gives all compressors of a sweep the same training: as many updates, or as many MACs, as the first one has."""

from __future__ import annotations

from typing import Any, Literal

from bench import registry
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
    if budget == "preset" or len({source.compressor for source in config.compressors().values()}) < 2:
        return config
    shape = compressible(load_upstream(config.teacher or ""), config.teacher).config
    recipes = {row: _recipe(source) for row, source in config.compressors().items()}
    # A student of a fixed size has no sparsity, and is measured by the first row of all.
    measures = {None: next(iter(recipes.values()))}
    models = dict(config.models)
    for row, source in config.compressors().items():
        recipe = recipes[row]
        first = measures.setdefault(source.settings.get("sparsity"), recipe)
        changed: Any = recipe if first is recipe else _alike(recipe, first, budget, shape)
        models[row] = source.model_copy(update={"settings": changed.model_dump(mode="json")})
    return config.model_copy(update={"models": models})


def _recipe(source: ModelSource) -> ComparableTraining:
    name = source.compressor or ""
    recipe = registry.load("bench.compressors", name).config_type.model_validate(source.settings)
    if not isinstance(recipe, ComparableTraining):
        raise UserError(
            f"Expected compressors that say what their training costs. Found {name}, which does not. "
            "Leave it out, or use --budget preset."
        )
    return recipe


def _alike(
    recipe: ComparableTraining, first: ComparableTraining, budget: TrainingBudget, teacher: UpstreamConfig
) -> ComparableTraining:
    num_updates = first.num_updates()
    if budget == "macs":
        macs_an_update = recipe.training_macs(teacher) / recipe.num_updates()
        num_updates = round(first.training_macs(teacher) / macs_an_update)
    return recipe.with_num_updates(num_updates)
