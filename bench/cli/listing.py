"""``bench list``: the available compressors, tasks, teachers and presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Annotated, Any, Optional

import typer

from bench.cli import options
from bench.terminal.streams import print_line
from bench.text import shortened

KINDS = ("compressors", "tasks", "teachers", "presets")
LINE_WIDTH = 110
"""Width in characters of the list of settings, on any output."""


def list_(
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar=f"[{'|'.join(KINDS)}]", help="What to list [default: an overview of all]."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="[NAME]", help="After presets: the compressor or task whose settings to show."),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """List compressors, tasks, teachers or presets."""
    from bench.errors import UserError
    from bench.terminal.choices import one_of
    from bench.terminal.printing import print_json, print_rows

    if kind is None:
        rows = {each: [next(iter(row.values())) for row in _ROWS[each]()] for each in KINDS[:-1]}
        print_json(rows) if json else _print_overview(rows)
        return 0
    kind = one_of(kind, KINDS, "kind of thing to list")
    if name is not None and kind != "presets":
        raise UserError(f"bench list {kind} takes no name. Leave {shortened(repr(name))} out.")
    if kind == "presets" and not json:
        _print_presets(name)
        return 0
    rows_of_kind = _preset_rows(name) if kind == "presets" else _ROWS[kind]()
    print_json(rows_of_kind) if json else print_rows(rows_of_kind, _TITLES.get(kind, ""))
    return 0


def _print_overview(names: Mapping[str, Sequence[str]]) -> None:
    for kind, known in names.items():
        print_line(fill(f"{kind}: {', '.join(known)}", LINE_WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    print_line("More about each: bench list compressors, tasks or teachers; settings: bench list presets NAME")


def _print_presets(name: str | None) -> None:
    """Show the presets of each plug-in, or all settings of one plug-in."""
    from bench.terminal.printing import print_rows

    if name is None:
        rows = [
            {"plug-in": plugin, "presets": ", ".join(presets), "settings": len(_settings_by_key(presets))}
            for plugin, presets in _presets().items()
        ]
        print_rows(rows)
        print_line("The settings of one: bench list presets NAME, such as bench list presets dphubert")
        return
    plugin = _plugin_of_presets(name)
    presets = _presets()[plugin]
    key_of = f"tasks.{plugin}" if plugin in dict(_plugins("tasks")) else plugin
    print_line(f"{plugin}: settings of the presets {', '.join(presets)}; change one with --set {key_of}.KEY=VALUE")
    for key, (values, meaning) in _settings_by_key(presets).items():
        print_line("\n" + fill(f"{key} = {_values_text(values)}", LINE_WIDTH, subsequent_indent="    "))
        print_line(fill(meaning, LINE_WIDTH, initial_indent="    ", subsequent_indent="    "))


def _values_text(values: Mapping[str, str]) -> str:
    """Write one value if all presets agree, otherwise each value with its presets."""
    presets: dict[str, list[str]] = {}
    for preset, value in values.items():
        presets.setdefault(value, []).append(preset)
    if len(presets) == 1:
        return next(iter(presets))
    return ", ".join(f"{value} ({', '.join(named)})" for value, named in presets.items())


def _settings_by_key(presets: Mapping[str, Any]) -> dict[str, tuple[dict[str, str], str]]:
    """Return each setting's value in every preset, and its meaning."""
    found: dict[str, tuple[dict[str, str], str]] = {}
    for preset, settings in presets.items():
        for key, value, meaning in _fields(settings):
            found.setdefault(key, ({}, meaning))[0][preset] = str(value)
    return found


def _presets() -> dict[str, dict[str, Any]]:
    return {name: dict(plugin.presets) for kind in ("compressors", "tasks") for name, plugin in _plugins(kind)}


def _plugin_of_presets(name: str) -> str:
    from bench.terminal.choices import one_of

    return one_of(name, list(_presets()), "compressor or task")


def _preset_rows(name: str | None) -> list[dict[str, Any]]:
    presets = _presets()
    return [
        {"plug-in": plugin, "preset": preset, "key": key, "value": str(value), "meaning": meaning}
        for plugin in ([_plugin_of_presets(name)] if name else presets)
        for preset, settings in presets[plugin].items()
        for key, value, meaning in _fields(settings)
    ]


def _compressors() -> list[dict[str, Any]]:
    return [{"compressor": name, "summary": plugin.summary} for name, plugin in _plugins("compressors")]


def _tasks() -> list[dict[str, Any]]:
    return [
        {
            "task": name,
            "summary": plugin.summary,
            "metrics": ", ".join(f"{metric.name}{' (primary)' if metric.primary else ''}" for metric in plugin.metrics),
        }
        for name, plugin in _plugins("tasks")
    ]


def _teachers() -> list[dict[str, Any]]:
    from bench.upstream.reference import known_references

    return [{"reference": name, "what": description} for name, description in known_references()]


def _fields(settings: Any, prefix: str = "") -> list[tuple[str, Any, str]]:
    from pydantic import BaseModel

    found: list[tuple[str, Any, str]] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found += _fields(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value, " ".join((field.description or "").split())))
    return found


def _plugins(kind: str) -> list[tuple[str, Any]]:
    from bench import registry

    group = registry.GROUPS[kind]
    return [(name, registry.load(group, name)) for name in registry.names(group)]


_TITLES = {"compressors": "Joined by +, each compresses what the one before has made: dphubert+int8"}

_ROWS = {"compressors": _compressors, "tasks": _tasks, "teachers": _teachers}
