"""Reads the user's JSON: limited size and depth, finite numbers, unique keys."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.errors import UserError
from bench.files.text import is_plain, read_text
from bench.text import shortened

MAX_JSON_BYTES = 10 * 10**6
MAX_DEPTH = 100
"""Deepest nesting of lists and objects."""
MAX_DIGITS = 100
"""Longest number, in characters."""
REMEDY = "Correct the file, or get it again."

# Matches whole strings, so that brackets in them do not count. The end quote may be missing: the parser refuses that.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.?[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_SURROGATE_OR_NUL = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)|[\ud800-\udfff]")


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file in UTF-8.

    Args:
        path: path of the file.
        max_bytes: larger files are refused before they are read.

    Raises:
        UserError: the file cannot be read, or `parse_json` refuses its content. The error names the file.
    """
    return parse_json(read_text(path, max_bytes=max_bytes), str(path))


def read_json_object(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON file that holds one object; see `read_json`.

    Raises:
        UserError: see `read_json`; or the file does not hold an object.
    """
    return _object(read_json(path, max_bytes=max_bytes), str(path))


def parse_json_object(text: str, where: str, *, numbers_as_text: bool = False) -> dict[str, Any]:
    """Parse a JSON document that is one object; see `parse_json`.

    Raises:
        UserError: see `parse_json`; or the document is not an object.
    """
    return _object(parse_json(text, where, numbers_as_text=numbers_as_text), where)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"Expected a JSON object in {where}. Found a {type(value).__name__}. {REMEDY}")
    return value


def parse_json(text: str, where: str, *, numbers_as_text: bool = False) -> Any:
    """Parse a JSON document, such as one line of a file.

    Args:
        text: the document.
        where: its name in errors, such as ``line 3 of a.jsonl``.
        numbers_as_text: return numbers as they are written.

    Raises:
        UserError: the text is not JSON, is nested deeper than `MAX_DEPTH`, or contains NaN, infinity, a number of over
            `MAX_DIGITS` characters, a duplicate key, a NUL character or half a surrogate pair.
    """
    try:
        _require_shallow(text)
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_as_written if numbers_as_text else _finite,
            parse_int=_as_written if numbers_as_text else _integer,
            object_pairs_hook=_without_repeats,
        )
        if _SURROGATE_OR_NUL.search(text):
            _require_text(value)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise UserError(f"Expected JSON in {where}. Found a mistake at {place}: {error.msg}. {REMEDY}") from error
    except ValueError as error:
        raise UserError(f"Expected JSON in {where}. Found {error}. {REMEDY}") from error
    return value


def _require_shallow(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in ("[", "{"):
            depth += 1
        elif match[0] in ("]", "}"):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"over {MAX_DEPTH} lists or objects within each other")


def _require_text(value: Any) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str) and not is_plain(item):
            raise ValueError(f"a NUL character or half a surrogate pair in {shortened(item, 40)!r}")
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, where numbers are finite")


def _finite(text: str) -> float:
    value = float(text) if len(text) <= MAX_DIGITS else math.inf
    if math.isinf(value):
        raise ValueError(f"the number {shortened(text, 40)}, which is too large or too long")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {shortened(text, 40)}, which is too large")
    return int(text)


def _as_written(text: str) -> str:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {shortened(text, 40)}, which is too long")
    return text


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shortened(repeated, 40)!r} twice in one object")
    return values
