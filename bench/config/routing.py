"""Assigns each ``--set`` to its target: the data, a task, or compressors and their parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import UserError
from bench.registry import nearest

SIZES = frozenset({"sparsity", "params"})
"""Settings for the size of a compressor's model."""

Parts = Mapping[str, type[Any]]
"""Name to plug-in: the parts of a stack in order, or a single compressor."""

Changes = dict[str, dict[str, Any]]
"""Part or task to its changes, by dotted key."""


def split_off(overrides: Mapping[str, Any], head: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries whose key starts with ``head.``, without that prefix, and the others."""
    prefix = f"{head}."
    inside = {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}
    outside = {key: value for key, value in overrides.items() if not key.startswith(prefix)}
    return inside, outside


def to_tasks(overrides: Mapping[str, Any], tasks: Iterable[str]) -> Changes:
    """Return each task's changes.

    Raises:
        UserError: a task is not chosen.
    """
    inside, _ = split_off(overrides, "tasks")
    chosen = list(tasks)
    unknown = {key.partition(".")[0] for key in inside} - set(chosen)
    if unknown:
        name = min(unknown)
        raise UserError(f"--set tasks.{name}...: this task is not chosen. {nearest(name, chosen)}")
    return {name: split_off(inside, name)[0] for name in chosen}


def to_compressors(overrides: Mapping[str, Any], rows: Mapping[str, Parts]) -> dict[str, Changes]:
    """Return the changes of each row's parts.

    A bare key, and ``compressor.<key>``, changes every part that has it. Keys in `SIZES` change only the first such
    part of a stack, because later parts have another teacher. ``<part>.<key>`` overrides these. ``<row>.<key>``, for a
    row with its own name, overrides both.

    Raises:
        UserError: no part has a key, or a row has the name of a setting.
    """
    _, others = split_off(overrides, "data")
    _, others = split_off(others, "tasks")
    to_all, others = split_off(others, "compressor")
    parts = {name: part for chosen in rows.values() for name, part in chosen.items()}
    fields = {field for part in parts.values() for field in _fields(part)}
    named = [row for row in rows if row not in parts]
    for row in sorted(fields.intersection(named)):
        raise UserError(f"--compressor {row}=...: {row!r} is a setting. Choose another name for the row.")
    for key in others:
        head, _, rest = key.partition(".")
        is_of_a_row = any(key.startswith(f"{row}.") for row in named)
        if not (head in fields or (head in parts and rest) or is_of_a_row):
            heads = [f"{name}.*" for name in (*parts, *named, "data", "compressor", "tasks.<name>")]
            named_row = f", and no row is called {head!r} (name one: {head}=COMPRESSOR)" if rest else ""
            hint = nearest(key, [*fields, *heads])
            raise UserError(f"--set {key}: no chosen compressor has this key{named_row}. {hint}")
    changes: dict[str, Changes] = {}
    for row, chosen in rows.items():
        own, _ = split_off(others, row) if row in named else ({}, {})
        first = next(iter(chosen))
        keys = sorted(others, key=lambda key: key.partition(".")[0] in parts)
        shared = [(target, others[key]) for key in keys for target in _concerned(key, chosen)]
        changes[row] = {part: {} for part in chosen}
        # If no part has a key, the first part refuses it and suggests one of its own settings.
        for (part, key), value in [*_meant(to_all, chosen, first), *shared, *_meant(own, chosen, first)]:
            changes[row][part][key] = value
    return changes


def _meant(values: Mapping[str, Any], parts: Parts, first: str) -> list[tuple[tuple[str, str], Any]]:
    return [(target, value) for key, value in values.items() for target in _concerned(key, parts) or [(first, key)]]


def first_with(parts: Parts, setting: str) -> str | None:
    """Return the first part that has a setting."""
    return next((name for name, part in parts.items() if setting in _fields(part)), None)


def _concerned(key: str, parts: Parts) -> list[tuple[str, str]]:
    head, _, rest = key.partition(".")
    if head in parts and rest:
        return [(head, rest)]
    having = [name for name, part in parts.items() if head in _fields(part)]
    return [(name, key) for name in (having[:1] if head in SIZES else having)]


def _fields(part: type[Any]) -> set[str]:
    return set(part.config_type.model_fields)
