"""Hugging Face's ``audiofolder``: audio files, described by ``metadata.csv`` or ``metadata.jsonl``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from bench.audio.listings.listing import Listing
from bench.audio.listings.split_names import standard_split
from bench.audio.listings.tables import read_csv, read_json_lines
from bench.errors import UserError

METADATA = ("metadata.csv", "metadata.jsonl")
_FILE_NAME = "file_name"


def read_audiofolder(folder: Path) -> Listing:
    """Read the metadata. Its column ``file_name`` holds paths relative to the folder.

    Without a column ``split``, the first folder of each path is the split if all of them are names of splits.

    Raises:
        UserError: there are no metadata, or two files of them; they cannot be read, or have no file names.
    """
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) != 1:
        raise UserError(
            f"Expected one of {' and '.join(METADATA)} in {folder}. Found {'both' if found else 'none'}. "
            f"{'Remove one.' if found else 'Write one, with the column file_name.'}"
        )
    (file,) = found
    table = (read_csv if file.suffix == ".csv" else read_json_lines)(file).table
    if _FILE_NAME not in table or "path" in table:
        raise UserError(
            f"Expected a column file_name, and none called path, in {file}. Found "
            f"{'both' if _FILE_NAME in table else 'no file_name'}. Rename the columns."
        )
    names = table.pop(_FILE_NAME).tolist()
    splits = [standard_split(PurePosixPath(name).parts[0]) if "/" in name else None for name in names]
    if "split" not in table and all(splits):
        table["split"] = splits
    return Listing(table, lambda: [name and str(folder / name) for name in names])
