"""Gives all compressors of a sweep the same training: as many updates, or as many MACs, as the first one has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.config.overrides import validated
from bench.config.run import ModelSource, RunConfig
from bench.contracts import ComparableTraining
from bench.errors import UserError
from bench.runs.checks import compressible
from bench.runs.plan import rows_there
from bench.stacking import by_part, compressor_type
from bench.store.run_folder import RunFolder
from bench.upstream import UpstreamConfig, load_upstream


def with_equal_training(config: RunConfig, folder: RunFolder) -> RunConfig:
    """Return the configuration with every recipe stretched or shortened to the first compressor's training.

    Args:
        config: of a sweep; its ``training_budget`` says what is made equal, at each sparsity.
        folder: of the sweep, whose first compressor stays the first when others join it later.

    Raises:
        UserError: a compressor does not say what its training costs, or its recipe does not fit.
    """
    rows = {**rows_there(folder), **config.compressors()}
    first = next(iter(rows.values()), None)
    others = [row for row, source in config.compressors().items() if first and not _differ_in_size(source, first)]
    if first is None or not others or config.training_budget == "preset":
        return config
    is_macs = config.training_budget == "macs"
    teacher = compressible(load_upstream(config.teacher or ""), config.teacher).config if is_macs else None
    same = [source for source in rows.values() if _differ_in_size(source, first)]
    models = dict(config.models)
    for row in others:
        models[row] = _with_training_of(models[row], _recipe(_at_sparsity_of(models[row], same)), teacher)
    return config.model_copy(update={"models": models})


def _differ_in_size(row: ModelSource, other: ModelSource) -> bool:
    """Tell whether two rows have the same settings but for their size, at most."""
    recipes = [by_part(source.compressor or "", source.settings) for source in (row, other)]
    settings = [
        {part: {key: value for key, value in values.items() if key != "sparsity"} for part, values in recipe.items()}
        for recipe in recipes
    ]
    return settings[0] == settings[1]


def _at_sparsity_of(row: ModelSource, candidates: Sequence[ModelSource]) -> ModelSource:
    """Choose the candidate of a row's sparsity; the first one where either has a size of its own."""
    return next((source for source in candidates if _sparsity(source) == _sparsity(row)), candidates[0])


def _sparsity(source: ModelSource) -> float | None:
    """Return what a sweep sets, in a stack of its first part that has it."""
    parts = by_part(source.compressor or "", source.settings).values()
    return next((settings["sparsity"] for settings in parts if "sparsity" in settings), None)


def _recipe(source: ModelSource) -> ComparableTraining:
    name = source.compressor or ""
    recipe = compressor_type(name).config_type.model_validate(source.settings)
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
