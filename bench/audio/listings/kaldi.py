"""Kaldi's data folders: ``wav.scp``, ``segments``, ``text``, ``utt2spk``, and further files ``utt2...``."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.audio.listings.cutting import Cut, cut_audio
from bench.audio.listings.listing import Listing, located
from bench.audio.listings.tables import MAX_LISTING_BYTES
from bench.errors import UserError
from bench.files.text import read_text
from bench.text import shortened

logger = logging.getLogger(__name__)

WAV_SCP = "wav.scp"
SEGMENTS = "segments"
SPEAKERS = "utt2spk"
_PREFIX = "utt2"
_TO_THE_END = -1.0
_FIX = "Run Kaldi's utils/fix_data_dir.sh, or correct it."
_OWN_COLUMNS = {"id", "path", "text"}


def read_kaldi(folder: Path) -> Listing:
    """Read a data folder.

    ``text`` becomes the column text, ``utt2spk`` the column speaker, and every other file ``utt2X`` the column X.

    Raises:
        UserError: a file is missing or malformed, names an utterance or recording twice or an unknown one, or
            ``wav.scp`` has a command, which is never run.
    """
    recordings = read_recordings(folder)
    cuts = _cuts(folder, recordings) if (folder / SEGMENTS).exists() else None
    ids = [cut.name for cut in cuts] if cuts is not None else list(recordings)
    table = pd.DataFrame({"id": ids}, dtype=object)
    known = set(ids)
    for column, file in _columns(folder).items():
        values = read_keyed(file)
        if unknown := next((name for name in values if name not in known), None):
            raise UserError(
                f"Expected the utterances of {WAV_SCP} or {SEGMENTS} in {file}. Found {shortened(repr(unknown))}, "
                f"which they do not have. {_FIX}"
            )
        table[column] = [values.get(name, "") for name in ids]
    if cuts is not None:
        return Listing(table, lambda: cut_audio(folder, cuts))
    return Listing(table, lambda: [str(path) for path in recordings.values()])


def read_recordings(folder: Path) -> dict[str, Path]:
    """Read ``wav.scp``: the audio of every recording.

    Raises:
        UserError: it is missing or malformed, or has a command.
    """
    file = folder / WAV_SCP
    values = read_keyed(file)
    for name, value in values.items():
        if value.startswith("|") or value.endswith("|"):
            raise UserError(
                f"Expected paths of audio files in {file}. Found a command for {shortened(repr(name), 40)} "
                f"({shortened(value, 60)}), which is never run. Write its audio to files (Kaldi: wav-copy), and list "
                "them."
            )
    return dict(zip(values, located(list(values.values()), folder, str(file)), strict=True))


class Segment(NamedTuple):
    """A line of ``segments``."""

    name: str
    recording: str
    start_s: float
    end_s: float


def read_segments(folder: Path, recordings: Collection[str]) -> list[Segment]:
    """Read ``segments``: parts of recordings.

    Raises:
        UserError: it is missing or malformed, or names an unknown recording.
    """
    file = folder / SEGMENTS
    segments = []
    for name, value in read_keyed(file).items():
        fields = re.split(r"[ \t]+", value)
        where = f"of {shortened(repr(name), 40)} in {file}"
        if len(fields) != 3:
            raise UserError(f"Expected a recording, start and end {where}. Found {shortened(repr(value))}. {_FIX}")
        segment = Segment(name, fields[0], _seconds(fields[1], where), _seconds(fields[2], where))
        if segment.recording not in recordings:
            raise UserError(
                f"Expected a recording of {WAV_SCP} {where}. Found {shortened(repr(segment.recording))}, which it does "
                f"not have. {_FIX}"
            )
        segments.append(segment)
    return segments


def _cuts(folder: Path, recordings: dict[str, Path]) -> list[Cut]:
    cuts, used = [], set()
    for name, recording, start_s, end_s in read_segments(folder, recordings):
        used.add(recording)
        duration_s = None if end_s == _TO_THE_END else end_s - start_s
        cuts.append(Cut(name, recordings[recording], start_s, duration_s))
    if unused := len(recordings) - len(used):
        logger.warning("%d recordings of %s have no segments. They are not read.", unused, folder)
    return cuts


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"Expected seconds as start and end {where}. Found {shortened(repr(text))}. {_FIX}")
    return value


def _columns(folder: Path) -> dict[str, Path]:
    """Return the files that describe utterances, by the column that each becomes."""
    columns = {"text": folder / "text"} if (folder / "text").exists() else {}
    for file in sorted(folder.glob(f"{_PREFIX}*")):
        column = "speaker" if file.name == SPEAKERS else file.name.removeprefix(_PREFIX)
        if column in _OWN_COLUMNS or not column or column in columns:
            raise UserError(
                f"Expected files {_PREFIX}X in {folder}, each of which becomes a column X. Found {file.name}, but "
                f"{column or 'nothing'} is the name of a column of its own. Rename it."
            )
        columns[column] = file
    return columns


def read_keyed(file: Path) -> dict[str, str]:
    """Read lines of a name and a value. Values may be empty.

    Raises:
        UserError: the file is missing or empty, or has a name twice.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(read_text(file, max_bytes=MAX_LISTING_BYTES).split("\n"), start=1):
        name, *value = re.split(r"[ \t]+", line.strip(" \t"), maxsplit=1)
        if name in values:
            raise UserError(f"Expected {shortened(repr(name))} once in {file}. Found it again in line {number}. {_FIX}")
        if name:
            values[name] = value[0] if value else ""
    if not values:
        raise UserError(f"Expected lines of a name and a value in {file}. Found none. {_FIX}")
    return values
