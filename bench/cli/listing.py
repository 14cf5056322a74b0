"""``bench list``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.cli import options

KINDS = ("compressors", "tasks", "teachers", "presets")


def list_(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to list.")],
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """List compressors, tasks, teachers or presets."""
    from bench.cli.choices import one_of
    from bench.cli.output import print_json, print_rows

    rows = _ROWS[one_of(kind, KINDS, "kind of thing to list")]()
    print_json(rows) if json else print_rows(rows, _TITLES.get(kind, ""))
    return 0


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


def _presets() -> list[dict[str, Any]]:
    return [
        {"plug-in": name, "preset": preset, "key": key, "value": str(value), "meaning": meaning}
        for kind in ("compressors", "tasks")
        for name, plugin in _plugins(kind)
        for preset, settings in plugin.presets.items()
        for key, value, meaning in _fields(settings)
    ]


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

_ROWS = {"compressors": _compressors, "tasks": _tasks, "teachers": _teachers, "presets": _presets}
