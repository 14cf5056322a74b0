"""Small JSON files of a run, which may be edited or damaged: read as typed values, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from bench.errors import UserError
from bench.text import printable, shortened

LARGEST_BYTES = 64 * 2**20
"""Largest size of a file, or of a line in a file of lines; the suite's records have about 10 kB."""
LONGEST_VALUE = 60
"""A message shows at most so many characters of a wrong value."""

Finite = Annotated[float, Field(allow_inf_nan=False)]

Content = TypeVar("Content", bound=BaseModel)


def read_json_as(kind: type[Content], path: Path, what: str, remedy: str) -> Content:
    """Read a file of one JSON object.

    Args:
        kind: its type.
        path: the file.
        what: what was expected, in a few words.
        remedy: a sentence that says what to do if it is something else.

    Raises:
        UserError: it cannot be read, or a field is wrong; the message names the first one.
    """
    return _parsed(kind, _bytes(path, what, remedy), str(path), what, remedy)


def read_json_lines_as(kind: type[Content], path: Path, what: str, remedy: str) -> Iterator[Content]:
    """Read a file of one JSON object per line; see `read_json_as`. Empty lines are skipped.

    Raises:
        UserError: the file cannot be read, or a line is wrong; the message names the file and the line.
    """
    _require_file(path, what, remedy)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(partial(file.readline, LARGEST_BYTES + 1), b""), 1):
                _refuse_large(line, f"{path}, line {number}", what, remedy)
                if line.strip():
                    yield _parsed(kind, line, f"{path}, line {number}", what, remedy)
    except OSError as error:
        raise UserError(f"Expected {what} in {path}. It cannot be read: {error.strerror}. {remedy}") from error


def check_as(kind: type[BaseModel], values: object, what: str, remedy: str) -> None:
    """Check plain values that were read from a file.

    Args:
        kind: the type that they must have.
        values: the values.
        what: what was expected, and in which file.
        remedy: as for `read_json_as`.

    Raises:
        UserError: a field is wrong; the message names the first one.
    """
    try:
        kind.model_validate(values)
    except ValidationError as error:
        raise UserError(f"Expected {what}. Found {_what_is_wrong(error)}. {remedy}") from error


def _require_file(path: Path, what: str, remedy: str) -> None:
    # Opening a pipe would wait for a writer.
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or device"
        raise UserError(f"Expected {what} in {path}. It cannot be read: it is {kind}. {remedy}")


def _bytes(path: Path, what: str, remedy: str) -> bytes:
    _require_file(path, what, remedy)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"Expected {what} in {path}. It cannot be read: {error.strerror}. {remedy}") from error
    _refuse_large(content, str(path), what, remedy)
    return content


def _refuse_large(content: bytes, where: str, what: str, remedy: str) -> None:
    if len(content) > LARGEST_BYTES:
        raise UserError(f"Expected {what} in {where}. Found more than {LARGEST_BYTES // 2**20} MB. {remedy}")


def _parsed(kind: type[Content], content: bytes, where: str, what: str, remedy: str) -> Content:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"Expected {what} in {where}. Found {_what_is_wrong(error)}. {remedy}") from error


def _what_is_wrong(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return f"no JSON ({message.removeprefix('Invalid JSON: ')})"
    field = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "missing":
        return printable(f"no {shortened(field, LONGEST_VALUE)}")
    value = first["input"] if not isinstance(first["input"], str) else repr(first["input"])
    return printable(f"{shortened(field, LONGEST_VALUE)} {shortened(value, LONGEST_VALUE)} ({message})")
