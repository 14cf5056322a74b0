"""What every reader of a list of utterances returns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.errors import UserError
from bench.files.paths import is_possible
from bench.text import shortened


class Listing(NamedTuple):
    """Utterances, before any audio is read or written."""

    table: pd.DataFrame
    """One row per utterance, all values as text."""
    audio: Callable[[], list[str]] | None = None
    """Returns the path of every row's audio, relative to the list's folder or absolute. May first write audio files to
    the cache. None: the table has a column ``path``."""


def as_text(value: Any) -> str:
    """Return a JSON value as the text of a table: null is empty, and the items of a list have spaces between them."""
    if isinstance(value, list):
        return " ".join(as_text(item) for item in value)
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def table_of(rows: Iterable[dict[str, str]]) -> pd.DataFrame:
    """Return rows as a table of text. Missing values are empty."""
    return pd.DataFrame(list(rows), dtype=object).fillna("")


def located(paths: Sequence[str], folder: Path, where: str) -> list[Path]:
    """Resolve paths of recordings.

    Relative paths start at ``folder``, or at the nearest folder above it that has the first of them: Kaldi and lhotse
    write paths relative to the folder that they were started in.

    Args:
        paths: as the list has them.
        folder: folder of the list.
        where: the list's name in errors.

    Raises:
        UserError: a path is empty or longer than any file system allows.
    """
    for path in paths:
        if not is_possible(path):
            raise UserError(
                f"Expected paths of audio files in {where}. Found {shortened(repr(path))}, which is "
                f"{'too long for one' if path else 'empty'}. Correct it."
            )
    first = next((path for path in paths if not Path(path).is_absolute()), None)
    above = (folder, *folder.parents) if first else ()
    base = next((each for each in above if os.path.isfile(each / str(first))), folder)  # noqa: PTH113 - never raises
    return [base / path for path in paths]
