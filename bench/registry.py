"""Plug-ins, found by entry point. Installing a package that declares one is enough; no code here changes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from bench.errors import UserError
from bench.text import shortened

Group = Literal["bench.compressors", "bench.tasks", "bench.corpora", "bench.upstreams", "bench.commands"]

FEW = 8
LONGEST_NAME = 200

GROUPS: dict[str, Group] = {"compressors": "bench.compressors", "tasks": "bench.tasks"}


def nearest(name: str, choices: Iterable[str]) -> str:
    """Suggest what ``name`` may have meant: the nearest choice, and all choices if they are few or none is near."""
    known = sorted(choices)
    # Matching time grows with the square of the length.
    near = difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
    if near and len(known) > FEW:
        return f"Did you mean {shortened(near[0])!r}?"
    hint = f"Did you mean {shortened(near[0])!r}? " if near else ""
    return f"{hint}Known: {shortened(', '.join(known), 160) or 'none'}."


@cache
def _plugins(group: Group) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UserError(
                f"Two packages provide {group} {entry.name!r}: {_origin(other)} and {_origin(entry)}. "
                "Uninstall one of them."
            )
    return found


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "an unknown package"
    return f"{package} ({entry.value})"


def names(group: Group) -> list[str]:
    """List the plug-ins of a group, sorted, without importing them."""
    return sorted(_plugins(group))


def require(group: Group, wanted: Iterable[str]) -> None:
    """Refuse names that no plug-in has, without importing any.

    Raises:
        UserError: names the first such name, and the nearest existing one.
    """
    plugins = _plugins(group)
    for name in wanted:
        if name not in plugins:
            kind = group.removeprefix("bench.").removesuffix("s")
            raise UserError(f"Unknown {kind} {name!r}. {nearest(name, plugins)}")


def load(group: Group, name: str) -> Any:
    """Import one plug-in.

    Raises:
        UserError: no plug-in has this name (the error suggests the nearest one), or its module cannot be imported.
    """
    require(group, [name])
    entry = _plugins(group)[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{group} {name!r} of {_origin(entry)} cannot be imported: {error}. See `bench doctor`."
        ) from error
