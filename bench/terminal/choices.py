"""Options that take one or several known names, in any case: ``KS`` means ``ks``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.errors import UserError
from bench.registry import nearest
from bench.text import shortened

ALL_TASKS = "all"
"""Selects every task that the data have."""


def spelled(name: str, choices: Iterable[str]) -> str:
    """Return the choice that equals ``name`` up to case, or ``name`` if there is none."""
    known = list(choices)
    if name in known:
        return name
    return next((choice for choice in known if choice.lower() == name.lower()), name)


def comma_separated(text: str, option: str, choices: Sequence[str] = ()) -> tuple[str, ...]:
    """Split a comma-separated option. Its parts may be written in another case than the choices.

    Raises:
        UserError: it is empty, or has duplicates.
    """
    parts = tuple(spelled(part.strip(), choices) for part in text.split(",") if part.strip())
    if not parts:
        raise UserError(f"{option} names nothing. Give at least one, comma-separated.")
    if len(set(parts)) < len(parts):
        raise UserError(f"{option} {shortened(text)} names one thing twice.")
    return parts


def one_of(value: str, choices: Sequence[str], option: str) -> str:
    """Return the choice that equals ``value`` up to case.

    Raises:
        UserError: there is none. The error names the nearest one.
    """
    choice = spelled(value, choices)
    if choice not in choices:
        raise UserError(f"Unknown {option} {shortened(repr(value))}. {nearest(value, choices)}")
    return choice
