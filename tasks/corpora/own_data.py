"""The layout ``manifest``: users' own recordings, listed in a table."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path, PureWindowsPath
from typing import Literal
from unicodedata import normalize

import pandas as pd
from pydantic import Field

from bench.audio.files import read_headers
from bench.audio.listings.split_names import standard_split
from bench.audio.manifest import read_manifest
from bench.contracts import Settings
from bench.contracts.data import ManifestFormat
from bench.errors import UserError
from bench.registry import nearest
from bench.text import shortened
from tasks.corpora.splits import SPLITS

logger = logging.getLogger(__name__)

_TABLE_COLUMNS = {
    "wav_path",
    "num_samples",
    "label",
    "labels",
    "transcription",
    "iob",
    "start_sec",
    "end_sec",
    "turns",
    "speakers",
    "recorded_s",
}
_PREDICTION_KEYS = {"reference", "prediction", "correct", "counts", "duration_s", "fold"}


class ManifestData(Settings):
    """Your own recordings."""

    layout: Literal["manifest"] = "manifest"
    """A table with one row per utterance."""
    manifest: Path
    """CSV (``.csv``, ``.tsv``) or JSON lines (``.jsonl``) with the columns ``path`` (of the audio, relative to this
    file), ``split`` (``train``, ``dev`` or ``test``) and those of the task. An optional column ``id`` names utterances;
    the default is the path. Other columns are kept with the predictions. Or a Kaldi folder, an ``audiofolder`` or data
    set of Hugging Face, or lhotse's cuts."""
    format: ManifestFormat | None = None
    """Format of the manifest. None: recognised."""
    parts: dict[Literal["train", "dev", "test"], str | tuple[str, ...]] = Field(default_factory=dict)
    """The lists of each split, as names below the folder ``manifest``. Default: found by their names."""
    columns: dict[str, str] = Field(default_factory=dict)
    """What the manifest calls columns, by the names above, such as ``text: sentence``."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""

    def fields_without_effect(self) -> Collection[str]:
        """Name the fields about the format that are not set, so that they are not stored."""
        return [name for name in ("format", "parts", "columns") if not getattr(self, name)]

    def __hash__(self) -> int:
        """Hash the content, because mappings have no hash."""
        return hash(self.model_dump_json())


def read_own_data(
    data: ManifestData, columns: Sequence[str], splits: Sequence[str] = SPLITS
) -> dict[str, pd.DataFrame]:
    """Read a user's own recordings into ``train``, ``dev`` and ``test``.

    Args:
        data: the entry in the data file.
        columns: the columns that the task needs; every utterance must have a value in each.
        splits: names of the splits, if they differ.

    Returns:
        Tables with the columns id (by default the path without suffix), path, wav_path, num_samples, ``columns``, and
        all other columns of the manifest, sorted by id.

    Raises:
        UserError: the file, a column or a value is missing; a split is unknown or empty; an id or a file occurs twice;
            or audio is missing, unreadable or not 16 kHz.
    """
    file = data.manifest
    table = read_manifest(file, ("path", "split", *columns), chosen=data.format, parts=data.parts, names=data.columns)
    for column in ("path", *columns, *(["id"] if "id" in table else [])):
        _check_filled(table, column, file)
    _check_splits(table, file, splits)
    audio = _find(table, file)
    if "id" not in table:
        table["id"] = [Path(path).with_suffix("").as_posix() for path in table["path"]]
    _check_unique(table, audio, file)
    headers = read_headers(audio, resample=data.resample, root=file.parent)
    taken = {"id", "path", "split", *columns} | _TABLE_COLUMNS | _PREDICTION_KEYS
    further = [name for name in table if name not in taken]
    kept = table[["id", "path", *columns, *further]].assign(
        wav_path=[str(path) for path in audio], num_samples=[header.num_samples for header in headers]
    )
    return {split: kept[table["split"] == split].sort_values("id", ignore_index=True) for split in splits}


def read_texts(data: ManifestData, *columns: str) -> dict[str, pd.DataFrame]:
    """Read transcribed recordings: like `read_own_data`, with the column ``text`` as ``transcription``.

    Runs of white space become one space. A warning lists the characters that only dev or test have: a head cannot
    write a character it never saw.
    """
    splits = {
        split: table.rename(columns={"text": "transcription"})
        for split, table in read_own_data(data, ("text", *columns)).items()
    }
    for table in splits.values():
        table["transcription"] = [" ".join(text.split()) for text in table["transcription"]]
    signs = {split: set("".join(table["transcription"])) for split, table in splits.items()}
    if unseen := sorted((signs["dev"] | signs["test"]) - signs["train"]):
        logger.warning(
            "The texts of dev and test in %s have characters that no training text has: %s. None of them will be "
            "recognised. Spell all texts alike, e.g. in capitals without punctuation.",
            data.manifest,
            " ".join(unseen),
        )
    return splits


def _check_filled(table: pd.DataFrame, column: str, file: Path) -> None:
    empty = table[column].str.strip() == ""
    if empty.any():
        row = table[empty].iloc[0]
        which = f"the row of {shortened(row['path'])}" if column != "path" else f"row {empty.tolist().index(True) + 1}"
        raise UserError(
            f"Expected a value of {column} in every row of {file}. Found none in {which} ({empty.sum()} in all). "
            "Fill it in, or remove the row."
        )


def _check_splits(table: pd.DataFrame, file: Path, splits: Sequence[str]) -> None:
    known = f"{', '.join(splits[:-1])} or {splits[-1]}"
    unknown = table[~table["split"].isin(splits)]
    if not unknown.empty:
        row = unknown.iloc[0]
        raise UserError(
            f"Expected {known} as split in {file}. Found {shortened(row['split'], 40)!r} at "
            f"{shortened(row['path'])} ({len(unknown)} rows). {_split_remedy(row['split'], splits)}"
        )
    found = set(table["split"])
    remedy = {
        "train": "Mark the rows to train on as train.",
        "documents": "Mark the recordings to search in as documents.",
        "dev": "Mark a tenth of the training rows as dev, to select the best head.",
        "test": "Mark the rows to score as test, preferably of speakers that are not in train.",
    }
    if "documents" in splits:
        remedy["dev"] = "Mark some queries as dev, to select the best layer."
    if empty := [split for split in splits if split not in found]:
        raise UserError(
            f"Expected rows of {known.replace(' or ', ' and ')} in {file}. Found none of {empty[0]}. {remedy[empty[0]]}"
        )


def _split_remedy(name: str, splits: Sequence[str]) -> str:
    other = standard_split(name)
    return f"Write {other} instead." if other in splits else nearest(name, splits)


def _find(table: pd.DataFrame, file: Path) -> list[Path]:
    """Return the audio file of every row. All of them must exist."""
    audio = [file.parent / path for path in table["path"]]
    if missing := [path for path in audio if not path.is_file()]:
        listed = table["path"].iloc[audio.index(missing[0])]
        raise UserError(
            f"Expected the audio that {file} lists. Found no file {shortened(listed, 120)} ({len(missing)} of "
            f"{len(audio)} missing). "
            f"{_meant(missing[0], file.parent)}Paths are relative to the manifest: correct them, or restore the files."
        )
    return audio


def _meant(path: Path, root: Path) -> str:
    """Say which file may be meant by a missing one: its end below the manifest's folder, or a like name beside it."""
    if path.exists():
        return "What is there is no regular file. "
    # Which takes either slash for one.
    parts = PureWindowsPath(path.relative_to(root) if path.is_relative_to(root) else path).parts
    ends = [Path(*parts[start:]) for start in range(len(parts))]
    if below := next((end for end in ends if (root / end).is_file()), None):
        return f"Did you mean {below.as_posix()!r}? "
    names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    if normalize("NFC", path.name) in {normalize("NFC", name) for name in names}:
        return "A file there has this name with another encoding of accents (Unicode NFC or NFD): rename it. "
    near = get_close_matches(path.name, names, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def _check_unique(table: pd.DataFrame, audio: Sequence[Path], file: Path) -> None:
    for values, what in (([_identity(path) for path in audio], "audio file"), (table["id"].tolist(), "id")):
        name, count = Counter(values).most_common(1)[0]
        if count > 1:
            repeated = sum(number > 1 for number in Counter(values).values())
            others = f", and {repeated - 1} others twice" if repeated > 1 else ""
            rows = table[[value == name for value in values]]
            raise UserError(
                f"Expected every {what} once in {file}. Found {shortened(rows['path'].iloc[0])} and "
                f"{shortened(rows['path'].iloc[1])} (in "
                f"{' and '.join(dict.fromkeys(rows['split']))}) to be the same{others}. Remove one"
                f"{', or give them ids of their own in a column id' if what == 'id' else ''}."
            )


def _identity(path: Path) -> tuple[int, int]:
    """Return the file system's identity of a file, which all paths and links to it share."""
    status = path.stat()
    return status.st_dev, status.st_ino
