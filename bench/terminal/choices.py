"""Options whose value is one or several of known names, in any case: ``KS`` is ``ks``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.errors import UserError
from bench.registry import nearest
from bench.text import shortened

ALL_TASKS = "all"
"""Every task that the data has."""


def spelled(name: str, choices: Iterable[str]) -> str:
    """Return the choice that is written like ``name`` in another case, or else ``name``."""
    known = list(choices)
    if name in known:
        return name
    return next((choice for choice in known if choice.lower() == name.lower()), name)


def comma_separated(text: str, option: str, choices: Sequence[str] = ()) -> tuple[str, ...]:
    """Split a comma-separated option; its parts may be written like one of the choices in another case.

    Raises:
        UserError: nothing in it, or something twice.
    """
    parts = tuple(spelled(part.strip(), choices) for part in text.split(",") if part.strip())
    if not parts:
        raise UserError(f"{option} names nothing. Give at least one, comma-separated.")
    if len(set(parts)) < len(parts):
        raise UserError(f"{option} {shortened(text)} names one thing twice.")
    return parts


def one_of(value: str, choices: Sequence[str], option: str) -> str:
    """Return the choice that a value is, in whatever case it is written.

    Raises:
        UserError: it is none; the nearest one is named.
    """
    choice = spelled(value, choices)
    if choice not in choices:
        raise UserError(f"Unknown {option} {shortened(repr(value))}. {nearest(value, choices)}")
    return choice
