"""Formats values for people: short, and with printable characters only."""

from __future__ import annotations

import reprlib

ELLIPSIS = "..."
LARGEST_INT_BITS = 1024
"""Larger numbers are written in hexadecimal, because Python refuses to write very long decimals."""


def shortened(value: object, limit: int = 80) -> str:
    """Write a value in at most ``limit`` characters. Both ends of a long text stay visible.

    A large or deeply nested value is never written out in full first.

    Args:
        value: strings are written as they are (``shortened(repr(text))`` adds quotes), anything else by ``repr``.
        limit: at least 8.
    """
    text = value if isinstance(value, str) else _Repr(limit).repr(value)
    if len(text) <= limit:
        return text
    tail = (limit - len(ELLIPSIS)) // 3
    return text[: limit - len(ELLIPSIS) - tail] + ELLIPSIS + text[len(text) - tail :]


def printable(text: str) -> str:
    """Escape characters that a terminal would act on or cannot show: control and format characters, lone surrogates.

    Line feeds and tabs are kept.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in _HARMLESS else _escaped(letter) for letter in text)


_HARMLESS = "\n\t\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


class _Repr(reprlib.Repr):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 12
        self.maxstring = self.maxlong = self.maxother = limit

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 - the base class's signature
        return repr(x) if x.bit_length() <= LARGEST_INT_BITS else hex(x)
