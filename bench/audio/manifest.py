"""Manifests: the user's lists of utterances, as tables or in one of the formats of `bench.audio.listings`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.audio.listings.audiofolder import METADATA, read_audiofolder
from bench.audio.listings.kaldi import WAV_SCP, read_kaldi
from bench.audio.listings.lhotse_cuts import read_cuts
from bench.audio.listings.listing import Listing
from bench.audio.listings.parts import Part, found_parts, named_parts
from bench.audio.listings.recognition import JSON_LINES, recognised
from bench.audio.listings.saved_datasets import read_saved_dataset
from bench.audio.listings.tables import SEPARATORS, read_csv, read_json_lines
from bench.contracts.data import ManifestFormat as Format
from bench.errors import UserError
from bench.files.paths import is_possible
from bench.registry import nearest
from bench.text import shortened

MANIFEST_SUFFIXES = (*SEPARATORS, JSON_LINES)
_TABLES = ("csv", "jsonl")
_KALDI_FILES = {"text": "text", "speaker": "utt2spk"}


def read_manifest(
    file: Path,
    columns: Sequence[str],
    *,
    chosen: Format | None = None,
    parts: Mapping[Any, str | tuple[str, ...]] | None = None,
    names: Mapping[str, str] | None = None,
    splits: Collection[str] | None = None,
) -> pd.DataFrame:
    """Read a manifest. Every value stays text as written: ``NULL``, ``nan`` and ``007`` are words.

    Args:
        file: ``.csv`` or ``.tsv`` with a header, ``.jsonl`` with one object per line, or a file or folder of another
            format. In JSON, a number becomes the text as written, null becomes empty text, and a list becomes its
            items separated by spaces.
        columns: required columns.
        chosen: its format. None: recognised.
        parts: the lists of each split below a folder. None: found by their names.
        names: what the manifest calls columns, by our names.
        splits: read only these parts of a folder. None: all.

    Returns:
        One row per utterance, with all columns. ``path`` is relative to the folder of ``file``, or absolute.

    Raises:
        UserError: the file is missing, of another kind, encoding or structure, or lacks a column.
    """
    if not file.exists():
        raise _not_a_manifest(file)
    if parts:
        found: list[Part] | None = named_parts(file, parts)
    else:
        is_split = file.is_dir() and recognised(file, chosen) is None
        found = found_parts(file, chosen, splits) if is_split else None
    if found is None:
        return _read(Part(file, ""), columns, chosen, names or {}, file.parent)
    tables = [_read(part, columns, chosen, names or {}, file.parent) for part in found]
    return (
        pd.concat(tables, ignore_index=True).fillna("") if tables else pd.DataFrame(columns=list(columns), dtype=object)
    )


def _read(
    part: Part, columns: Sequence[str], chosen: Format | None, names: Mapping[str, str], folder: Path
) -> pd.DataFrame:
    """Read one list. Paths are relative to ``folder`` where they lie below it."""
    kind = recognised(part.path, chosen)
    if kind is None:
        raise _not_a_manifest(part.path)
    listing = _listing(part.path, kind, columns)
    table = _renamed(listing.table, names, part.path)
    if part.split:
        table["split"] = part.split
    given = {*table.columns, *([] if kind in _TABLES else ["path"])}
    if missing := [column for column in columns if column not in given]:
        raise UserError(
            f"Expected the columns {', '.join(columns)} in {part.path}. Found no column `{missing[0]}`. "
            f"{nearest(missing[0], sorted(given))} {_column_remedy(kind, missing[0], columns, list(given))}"
        )
    if "path" in columns:
        paths = listing.audio() if listing.audio else table["path"].tolist()
        _check_paths(paths, part.path)
        if listing.audio or part.path.parent != folder:
            table["path"] = [_relative(path, part.path.parent, folder) for path in paths]
    return table


def _listing(path: Path, kind: Format, columns: Sequence[str]) -> Listing:
    if kind == "lhotse":
        return read_cuts(path, with_labels=not {"path", "split"}.issuperset(columns))
    readers: dict[Format, Callable[[Path], Listing]] = {
        "csv": read_csv,
        "jsonl": read_json_lines,
        "kaldi": read_kaldi,
        "audiofolder": read_audiofolder,
        "datasets": read_saved_dataset,
    }
    return readers[kind](path)


def _renamed(table: pd.DataFrame, names: Mapping[str, str], path: Path) -> pd.DataFrame:
    for ours, theirs in names.items():
        if theirs not in table:
            raise UserError(
                f"Expected the column {shortened(theirs, 40)} in {path}, as columns.{ours} says. Found none. "
                f"{nearest(theirs, [str(name) for name in table])}"
            )
    return table.assign(**{ours: table[theirs] for ours, theirs in names.items()})


def _relative(path: str, folder: Path, base: Path) -> str:
    """Return a path that starts at ``folder`` as one that starts at ``base``, if it lies below it."""
    return str(folder / path).removeprefix(f"{base}/") if path else ""


def _not_a_manifest(file: Path) -> UserError:
    if file.is_file():
        return UserError(
            f"Expected a manifest with the suffix .csv, .tsv or .jsonl (JSON lines), or lhotse's cuts (.jsonl.gz). "
            f"Found {file}. Save it as one."
        )
    if not file.is_dir():
        return UserError(f"Expected a manifest, CSV or JSON lines. Found no file at {file}. Correct the path.")
    return UserError(
        f"Expected a manifest, or a folder with {WAV_SCP} (Kaldi), {' or '.join(METADATA)} (audiofolder), or a data "
        f"set of save_to_disk. Found a folder at {file} with none of them. Correct the path."
    )


def _check_paths(paths: Sequence[str], file: Path) -> None:
    for number, path in enumerate(paths, start=1):
        # Callers that need a path refuse empty ones, and can name the row's other values.
        if path and not is_possible(path):
            raise UserError(
                f"Expected the path of an audio file in row {number} of {file}. Found {shortened(repr(path))}, which "
                "is too long for one. Correct it."
            )


def _column_remedy(kind: Format, missing: str, columns: Sequence[str], found: Sequence[str]) -> str:
    if missing == "split" and kind not in _TABLES:
        return "Add it, or name the folders or files of each split, e.g. parts: {train: A, dev: B, test: C}."
    if kind == "kaldi":
        file = _KALDI_FILES.get(missing, f"utt2{missing}")
        return f"Add the file {file}, or name another column, e.g. columns: {{{missing}: NAME}}."
    if any(name != name.strip() and name.strip() in columns for name in found):
        return "Remove the spaces around the signs between columns."
    if not set(columns) & set(found):
        return "The first row must name the columns: add it, or rename them."
    return f"Add it, or rename one (columns: {{{missing}: NAME}} next to manifest)."
