"""Lists of utterances that consist of one list per split, such as Kaldi's folders train, dev and test."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.audio.listings.kaldi import WAV_SCP
from bench.audio.listings.recognition import recognised
from bench.audio.listings.split_names import standard_split
from bench.contracts.data import ManifestFormat as Format
from bench.errors import UserError
from bench.text import shortened

_AROUND_SPLITS = re.compile(r"^cuts[_.-]|([_.-]cuts)?(\.jsonl(\.gz)?)?$", re.IGNORECASE)


class Part(NamedTuple):
    """The list of one split."""

    path: Path
    split: str


def named_parts(folder: Path, parts: Mapping[Any, str | tuple[str, ...]]) -> list[Part]:
    """Return the parts that the data file names, by split.

    Raises:
        UserError: one does not exist.
    """
    named = [
        Part(folder / name, split)
        for split, names in parts.items()
        for name in ([names] if isinstance(names, str) else names)
    ]
    if missing := next((part.path for part in named if not os.path.exists(part.path)), None):  # noqa: PTH110 - never raises
        raise UserError(
            f"Expected the parts of the data below {folder}. Found no {shortened(str(missing))}. Correct parts."
        )
    return named


def found_parts(folder: Path, chosen: Format | None, splits: Collection[str] | None) -> list[Part] | None:
    """Find the parts of a folder by their names.

    Args:
        folder: has one folder or file per split.
        chosen: only parts of this format. None: all formats but tables.
        splits: only these, by the name of the part or of the split. None: all, and all must be train, dev or test.

    Returns:
        The parts. None if there are none before ``splits`` selects some.

    Raises:
        UserError: a part is of no split.
    """
    paths = [path for path in sorted(folder.iterdir()) if _is_part(path, chosen)]
    if not paths:
        return None
    found = []
    for path in paths:
        name = _AROUND_SPLITS.sub("", path.name)
        split = standard_split(name)
        if splits is None and split is None:
            raise UserError(
                f"Expected folders or files of the splits train, dev and test in {folder}. Found "
                f"{shortened(path.name, 60)}. Name the parts of each split next to manifest, e.g. parts: "
                "{train: A, dev: B, test: C}."
            )
        if splits is None or name in splits:
            found.append(Part(path, split if splits is None and split else name))
        elif split and split in splits:
            found.append(Part(path, split))
    return found


def _is_part(path: Path, chosen: Format | None) -> bool:
    if path.is_dir():
        return recognised(path, chosen) is not None
    return path.is_file() and path.name != WAV_SCP and recognised(path) == "lhotse" and chosen in (None, "lhotse")
