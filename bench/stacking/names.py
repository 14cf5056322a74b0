"""Names of stacks, of their parts and of their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import UserError

SEPARATOR = "+"


def part_names(name: str) -> tuple[str, ...]:
    """Split the name of a stack. Any other compressor is its own single part.

    Raises:
        UserError: a part is missing or given twice.
    """
    parts = tuple(name.split(SEPARATOR))
    if not all(parts):
        raise UserError(f"Expected compressors joined by {SEPARATOR}, such as dphubert{SEPARATOR}int8. Found {name!r}.")
    if len(set(parts)) < len(parts):
        raise UserError(f"The compressor {name!r} has one part twice. Keep one of them.")
    return parts


def what_differs(compressor: str, made: str) -> str:
    """Return what a model's name adds to that of its compressor. Empty if the compressor makes only one model.

    Raises:
        UserError: the name does not begin with the compressor's.
    """
    if made != compressor and not made.startswith(f"{compressor}-"):
        raise UserError(
            f"The compressor {compressor} made a model {made!r}. "
            f"Expected {compressor!r} or a name beginning {compressor}-."
        )
    return made.removeprefix(compressor)


def by_part(compressor: str, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of each part. A compressor that is no stack has one part."""
    parts = part_names(compressor)
    return settings if len(parts) > 1 else {parts[0]: settings}


def joined(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a compressor's settings from those of its parts, the reverse of `by_part`."""
    return dict(settings if len(settings) > 1 else next(iter(settings.values())))
