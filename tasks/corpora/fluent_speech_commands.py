"""Fluent Speech Commands' layout: commands with their action, object and location."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bench.audio.files import read_headers
from bench.contracts import Settings
from bench.errors import UserError
from bench.files.paths import is_possible
from bench.files.table import read_table
from bench.text import shortened
from tasks.corpora.left_out import warn_of_audio_left_out

SLOTS = ("action", "object", "location")
_COLUMNS = ("path", "speakerId", "transcription", *SLOTS)
_SPLIT_FILES = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}
_RESTORE = "Get the corpus from fluent.ai, or correct root in the data file."


class FluentSpeechCommandsData(Settings):
    """Fluent Speech Commands, or your own commands in its layout."""

    layout: Literal["fluent_speech_commands"] = "fluent_speech_commands"
    """``data/{train,valid,test}_data.csv``, whose column ``path`` names audio relative to ``root``."""
    root: Path
    """Folder with ``data`` and ``wavs``."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


def read_fluent_speech_commands(data: FluentSpeechCommandsData) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``train``, ``dev`` and ``test``, by its own split files.

    Returns:
        Tables with the columns id (the file's stem), wav_path, num_samples, labels (``action ; object ; location``),
        speaker, transcription, action, object and location, sorted by id.

    Raises:
        UserError: a table, column, value or audio is missing, an id occurs twice, or audio is unreadable or not 16 kHz.
    """
    tables = {}
    taken: dict[str, Path] = {}
    for split, name in _SPLIT_FILES.items():
        file = data.root / "data" / name
        rows = [_row(data.root, values) for values in _read_csv(file)]
        for row in rows:
            if row["id"] in taken:
                raise UserError(
                    f"Expected every file stem once in {data.root / 'data'}. Found {shortened(row['id'])} in "
                    f"{taken[row['id']].name} and again in {name}. Rename or remove one."
                )
            taken[row["id"]] = file
        rows.sort(key=lambda row: str(row["id"]))
        headers = read_headers([Path(row["wav_path"]) for row in rows], resample=data.resample, root=data.root)
        table = pd.DataFrame(rows)
        table.insert(2, "num_samples", [header.num_samples for header in headers])
        tables[split] = table
    if (data.root / "wavs").is_dir():
        warn_of_audio_left_out(
            data.root / "wavs", {Path(path) for table in tables.values() for path in table["wav_path"]}
        )
    return tables


def _row(root: Path, values: dict[str, str]) -> dict[str, Any]:
    return {
        "id": Path(values["path"]).stem,
        "wav_path": str(root / values["path"]),
        "labels": " ; ".join(values[slot] for slot in SLOTS),
        "speaker": values["speakerId"],
        "transcription": values["transcription"],
        **{slot: values[slot] for slot in SLOTS},
    }


def _read_csv(file: Path) -> list[dict[str, str]]:
    """Read one split's table, every value as text."""
    if not file.is_file():
        raise UserError(f"Expected Fluent Speech Commands. Found no {file}. {_RESTORE}")
    table = read_table(file)
    if lacking := [column for column in _COLUMNS if column not in table.columns]:
        raise UserError(f"Expected the columns {', '.join(_COLUMNS)} in {file}. Found no {lacking[0]}. {_RESTORE}")
    rows = []
    for line, row in zip(table.lines, table.rows, strict=True):
        values = dict(zip(table.columns, row, strict=True))
        for column in _COLUMNS:
            if not values[column].strip():
                raise UserError(f"Expected a value of {column} in line {line} of {file}. Found none. Fill it in.")
        if not is_possible(values["path"]):
            raise UserError(
                f"Expected the path of an audio file in line {line} of {file}. Found "
                f"{shortened(repr(values['path']))}, which is too long for one. Correct it."
            )
        if split_label := [slot for slot in SLOTS if ";" in values[slot]]:
            raise UserError(
                f"Expected {', '.join(SLOTS)} without a semicolon. Line {line} of {file} has one in "
                f"{split_label[0]}. Use another character."
            )
        rows.append(values)
    if not rows:
        raise UserError(f"Expected commands in {file}. Found the header alone. {_RESTORE}")
    return rows
