"""Turns errors that the user is meant to see into one line each."""

from __future__ import annotations

import errno
import os
from typing import Any, NamedTuple

import typer

from bench.errors import UserError
from bench.out_of_memory import is_out_of_memory, out_of_memory_line
from bench.text import shortened

# Of its usage errors, typer exports only this one. Its base is the class of all usage errors.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
FULL = (errno.ENOSPC, errno.EDQUOT)


class Fault(NamedTuple):
    """The user's view of an error."""

    message: str
    exit_code: int = 2


def explained(error: BaseException) -> Fault | None:
    """Return the line and exit code of an error. None for a bug, which shows its traceback."""
    if isinstance(error, UserError):
        return Fault(str(error), error.exit_code)
    if isinstance(error, USAGE_ERROR):
        return Fault(error.format_message())
    message = _of_the_machine(error)
    return None if message is None else Fault(message)


def _of_the_machine(error: BaseException) -> str | None:
    """Explain an error of Python itself whose cause is the machine or the input."""
    if isinstance(error, OSError):
        return _of_files(error)
    if isinstance(error, UnicodeEncodeError):
        return (
            f"Expected text that {error.encoding} can write. Found {error.object[error.start : error.end]!a} in "
            f"{shortened(ascii(error.object))}. Rename the file, or correct the text."
        )
    if isinstance(error, RecursionError):
        return "Expected data of a few levels. Found some nested too deeply to read. Correct the input."
    if is_out_of_memory(error):
        return out_of_memory_line(error)
    return None


def _of_files(error: OSError) -> str:
    reason = error.strerror or shortened(str(error)) or type(error).__name__
    if error.filename is None:
        return f"{reason}{_while_writing(error)}. {_advice(error)}"
    where = shortened(os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename), 160)
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"Expected to make or find a folder at {where}. Found a file in its way. Choose another path."
    return f"{reason}: {where}. {_advice(error)}"


def _advice(error: OSError) -> str:
    if error.errno in FULL:
        return "Free the disk, or choose another path."
    if error.errno == errno.ENOMEM:
        return "Free some memory, or use smaller batches."
    if error.errno == errno.EMFILE:
        return "Raise the limit of open files (ulimit -n)."
    if error.filename is None:
        return "See it with --debug, and run the same command again to go on."
    return "Choose another path."


def _while_writing(error: OSError) -> str:
    return " where this command writes (its output, --out or the cache)" if error.errno in FULL else ""
