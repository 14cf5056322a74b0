"""Sizes on disk, as people write them: powers of 1000."""

from __future__ import annotations

import re

from bench.errors import UserError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_size(text: str, option: str) -> int:
    """Read a size such as ``50GB`` or ``800MB`` in bytes (powers of 1000).

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if found is None or found[2] not in _UNITS:
        raise UserError(f"Expected a size such as 50GB or 800MB in {option}. Found {text!r}.")
    return round(float(found[1]) * _UNITS[found[2]])


def size_text(num_bytes: int) -> str:
    """Write a size for people: three digits and a unit."""
    unit = next((unit for unit in ("TB", "GB", "MB", "KB") if num_bytes >= _UNITS[unit]), "B")
    return f"{num_bytes / _UNITS[unit]:.3g} {unit}"
