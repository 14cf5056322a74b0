"""Recognises the format of a list of utterances by what is there."""

from __future__ import annotations

from pathlib import Path

from bench.audio.listings.audiofolder import METADATA
from bench.audio.listings.kaldi import WAV_SCP
from bench.audio.listings.lhotse_cuts import COMPRESSED, is_cut
from bench.audio.listings.saved_datasets import FILES
from bench.audio.listings.tables import SEPARATORS
from bench.contracts.data import ManifestFormat as Format
from bench.errors import UserError
from bench.files.json import parse_json_object

JSON_LINES = ".jsonl"
_FIRST_LINE_BYTES = 10**6


FOLDERS: tuple[Format, ...] = ("kaldi", "audiofolder", "datasets")
"""Formats that are folders."""


def recognised(path: Path, chosen: Format | None = None) -> Format | None:
    """Return the format of a file or folder. None if it has none.

    Args:
        path: must exist.
        chosen: the format that the user named. A folder without the files of this format has none.

    Raises:
        UserError: a folder has the files of several formats, or the format is that of a folder and this is none.
    """
    if path.is_dir():
        return _of_folder(path, chosen)
    if chosen in FOLDERS or path.name == WAV_SCP:
        raise UserError(
            f"Expected a folder of the format {chosen or 'kaldi'}. Found a file: {path}. Name its folder, or correct "
            "the format."
        )
    return chosen or _of_file(path)


def _of_folder(folder: Path, chosen: Format | None) -> Format | None:
    marks: dict[Format, bool] = {
        "kaldi": (folder / WAV_SCP).exists(),
        "audiofolder": any((folder / name).exists() for name in METADATA),
        "datasets": all((folder / name).exists() for name in FILES),
    }
    found = [name for name, is_there in marks.items() if is_there]
    if chosen:
        return chosen if chosen in found else None
    if len(found) > 1:
        raise UserError(
            f"Expected one list of utterances in {folder}. Found those of {' and '.join(found)}. Add format: "
            f"{found[0]} next to manifest, or format: {found[1]}."
        )
    return found[0] if found else None


def _of_file(file: Path) -> Format | None:
    name = file.name.lower()
    if name.endswith(tuple(SEPARATORS)):
        return "csv"
    if name.endswith(COMPRESSED):
        return "lhotse"
    if name.endswith(JSON_LINES):
        return "lhotse" if file.is_file() and _begins_with_a_cut(file) else "jsonl"
    return None


def _begins_with_a_cut(file: Path) -> bool:
    try:
        with file.open("rb") as lines:
            return is_cut(parse_json_object(lines.readline(_FIRST_LINE_BYTES).decode(), str(file)))
    except (UserError, UnicodeDecodeError, OSError):
        # The reader of manifests names the line.
        return False
