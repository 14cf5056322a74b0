"""Settings of one compressor or task: the preset's, or those of a stored run, with the user's changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import registry
from bench.config.overrides import nested, validated
from bench.contracts import Settings
from bench.errors import UserError


def plugin_settings(
    plugin: Any, preset: str, changes: Mapping[str, Any], where: str, stored: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of a plug-in.

    Args:
        plugin: class of a compressor or a task.
        preset: name of the preset.
        changes: dotted key to value.
        where: name of the plug-in in errors, such as ``compressor dphubert``.
        stored: settings that replace the preset's.

    Raises:
        UserError: unknown preset or keys, wrong types, or values out of range.
    """
    kind: type[Settings] = plugin.config_type
    if stored is not None:
        return validated(kind, nested(changes, stored), where)
    if preset not in plugin.presets:
        raise UserError(f"The {where} has no preset {preset!r}. {registry.nearest(preset, plugin.presets)}")
    base: Settings = plugin.presets[preset]
    # Settings that neither sets are left out, because some may not be set together with others.
    given = base.model_fields_set | {key.partition(".")[0] for key in changes}
    values = {key: value for key, value in nested(changes, base.model_dump()).items() if key in given}
    return validated(kind, values, where)


def has_effect(settings: Settings, key: str) -> bool:
    """Return whether a setting (dotted if nested) has an effect, given the values of the others."""
    name, _, rest = key.partition(".")
    if name in settings.fields_without_effect():
        return False
    inner = getattr(settings, name)
    return has_effect(inner, rest) if rest and isinstance(inner, Settings) else True
