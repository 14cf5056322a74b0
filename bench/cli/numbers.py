"""Reads numbers that users type into options."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from bench.errors import UserError
from bench.text import shortened

MAX_CHARACTERS = 50
"""Most characters of one number."""
NO_NUMBER = Decimal(-1)


def as_decimal(text: str) -> Decimal:
    """Read a number of any size exactly: ``0.5``, ``1e4``, ``1_000``. `NO_NUMBER` if it is not a finite number."""
    try:
        number = Decimal(text) if len(text) <= MAX_CHARACTERS else NO_NUMBER
    except InvalidOperation:
        return NO_NUMBER
    return number if number.is_finite() else NO_NUMBER


def whole_numbers(parts: Sequence[str], option: str, largest: int) -> tuple[int, ...]:
    """Read whole numbers from 0 up to the largest one allowed.

    Raises:
        UserError: a part is not such a number, or two are equal.
    """
    numbers = [as_decimal(part) for part in parts]
    # Check the bounds first: 1e999999999 as an int would fill the memory.
    are_whole = all(0 <= number <= largest and number == int(number) for number in numbers)
    if not are_whole or len(set(numbers)) < len(numbers):
        raise UserError(
            f"Expected different whole numbers from 0 to {largest} in {option}, comma-separated. "
            f"Found {shortened(repr(','.join(parts)))}."
        )
    return tuple(int(number) for number in numbers)
