"""Sizes on disk, as people write them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import ByteSize, Field, TypeAdapter, ValidationError

from bench.errors import UserError

LARGEST_BYTES = 10**18
_SIZE = TypeAdapter(Annotated[ByteSize, Field(ge=0, le=LARGEST_BYTES)])
_PATTERN = re.compile(r"[0-9.]+ *[A-Za-z]*")
_UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1}


def parse_size(text: str, option: str) -> int:
    """Read a size in bytes, such as ``50GB`` (powers of 1000) or ``8GiB`` (powers of 1024).

    Raises:
        UserError: the text is not a size, or is over a million terabytes.
    """
    try:
        # ByteSize ignores text after the unit.
        if _PATTERN.fullmatch(text.strip()):
            return int(_SIZE.validate_python(text.strip()))
    except ValidationError:
        pass
    raise UserError(f"Expected a size such as 50GB or 800MB in {option}, 1000 PB at most. Found {text[:40]!r}.")


def size_text(num_bytes: int) -> str:
    """Write a size for people: three digits and a unit."""
    unit = next((unit for unit, factor in _UNITS.items() if num_bytes >= factor), "B")
    return f"{num_bytes / _UNITS[unit]:.3g} {unit}"
