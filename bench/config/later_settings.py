"""Configurations of earlier versions: fills in settings added since then, with values that change no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.config.data import task_entry
from bench.contracts import Data
from bench.errors import UserError
from bench.stacking import compressor_type, part_names


def brought_up_to_date(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the settings that a run's configuration is too old to contain, from its preset or from defaults."""
    preset = config["preset"]
    models = {row: _source_up_to_date(source, preset) for row, source in config["models"].items()}
    return {**config, "models": models, "tasks": tasks_up_to_date(config), "data": _data_up_to_date(config["data"])}


def _source_up_to_date(source: Mapping[str, Any], preset: str) -> Mapping[str, Any]:
    compressor = source.get("compressor")
    if not compressor:
        return source
    settings = with_later_settings("bench.compressors", compressor, source.get("settings", {}), preset)
    return {**source, "settings": settings}


def tasks_up_to_date(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of each task; see `brought_up_to_date`."""
    preset = config["preset"]
    return {
        name: with_later_settings("bench.tasks", name, settings, preset) for name, settings in config["tasks"].items()
    }


def with_later_settings(
    group: registry.Group, name: str, settings: Mapping[str, Any], preset: str
) -> Mapping[str, Any]:
    """Fill in settings that were added to a plug-in since a run began, from its preset, if they change no result.

    Args:
        group: group of the plug-in.
        name: name of the plug-in, or of a stack.
        settings: as the run stored them.
        preset: the preset of the run.
    """
    if not set(part_names(name)) <= set(registry.names(group)):
        return settings
    plugin = compressor_type(name) if group == "bench.compressors" else registry.load(group, name)
    base = plugin.presets[preset].model_dump(mode="json", exclude_unset=True) if preset in plugin.presets else {}
    try:
        filled = plugin.config_type.model_validate(_laid_over(base, plugin.config_type.as_kept(settings)))
    except ValidationError:
        # Today's version removed or refuses a stored setting. The comparison names the difference.
        return settings
    values: dict[str, Any] = filled.model_dump(mode="json")
    return values


def _laid_over(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _laid_over(base[key], value)
        for key, value in values.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **values, **nested}


def _data_up_to_date(data: Mapping[str, Any]) -> dict[str, Any]:
    tasks = {name: _entry_up_to_date(name, entry) for name, entry in data.get("tasks", {}).items()}
    try:
        return {**Data.model_validate(data).model_dump(mode="json"), "tasks": tasks}
    except ValidationError:
        return {**data, "tasks": tasks}


def _entry_up_to_date(name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    if name not in registry.names("bench.tasks"):
        return entry
    try:
        return task_entry(registry.load("bench.tasks", name), entry, name).model_dump(mode="json")
    except UserError:
        return entry
