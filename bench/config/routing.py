"""Finds whom each ``--set`` concerns: the data, a task, or compressors and their parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.errors import UserError
from bench.registry import nearest

SIZES = frozenset({"sparsity", "params"})
"""Settings that say how small a compressor's model becomes."""

Parts = Mapping[str, type[Any]]
"""Of a stack, in its order, or a compressor alone: name to plug-in."""

Changes = dict[str, dict[str, Any]]
"""Part to its changes by dotted key."""


def split_off(overrides: Mapping[str, Any], head: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``head.`` begins, without it, and the rest."""
    prefix = f"{head}."
    inside = {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}
    outside = {key: value for key, value in overrides.items() if not key.startswith(prefix)}
    return inside, outside


def to_tasks(overrides: Mapping[str, Any], tasks: Iterable[str]) -> tuple[Changes, dict[str, Any]]:
    """Return each task's changes, and the rest.

    Raises:
        UserError: a task that is not chosen.
    """
    inside, rest = split_off(overrides, "tasks")
    chosen = list(tasks)
    unknown = {key.partition(".")[0] for key in inside} - set(chosen)
    if unknown:
        name = min(unknown)
        raise UserError(f"--set tasks.{name}...: this task is not chosen. {nearest(name, chosen)}")
    return {name: split_off(inside, name)[0] for name in chosen}, rest


def to_compressors(overrides: Mapping[str, Any], compressors: Mapping[str, Parts]) -> dict[str, Changes]:
    """Return the changes of each part of each compressor.

    ``compressor.<key>`` is for all compressors, ``<part>.<key>`` for the parts of this name, a bare key for all parts
    that have it; of `SIZES`, for the first of a stack alone, as what follows is given another teacher.

    Raises:
        UserError: a key that no part has.
    """
    to_all, others = split_off(overrides, "compressor")
    parts = {name: part for chosen in compressors.values() for name, part in chosen.items()}
    fields = {field for part in parts.values() for field in _fields(part)}
    for key in others:
        head, _, rest = key.partition(".")
        if not (head in fields or (head in parts and rest)):
            hint = nearest(key, [*fields, *(f"{name}.*" for name in parts), "data.*", "compressor.*", "tasks.<name>.*"])
            raise UserError(f"--set {key}: no chosen compressor has this key. {hint}")
    changes: dict[str, Changes] = {name: {part: {} for part in chosen} for name, chosen in compressors.items()}
    for name, chosen in compressors.items():
        for key, value in to_all.items():
            # What none has is refused with the settings of the first.
            for part, own_key in _concerned(key, chosen) or [(next(iter(chosen)), key)]:
                changes[name][part][own_key] = value
        for key, value in others.items():
            for part, own_key in _concerned(key, chosen):
                changes[name][part][own_key] = value
    return changes


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
