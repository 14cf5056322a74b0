"""VoxCeleb1's layout for speaker identification, split by the corpus's ``iden_split.txt``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from bench.audio.files import read_headers
from bench.audio.search import files_below, is_audio
from bench.contracts import Settings
from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.left_out import warn_of_audio_left_out
from tasks.corpora.text_files import read_text

PARTS = ("dev", "test")
SPLIT_FILE = "iden_split.txt"
_SPLITS = {"1": "train", "2": "dev", "3": "test"}
_FIRST_SPEAKER = 10_001
_LINE = re.compile(r"(?P<code>[123])\s+(?P<path>id(?P<number>\d+)/(?P<video>[^/]+)/[^/]+\.wav)")
_PAGE = "robots.ox.ac.uk/~vgg/data/voxceleb"


class VoxCeleb1Data(Settings):
    """VoxCeleb1, or your own speakers in its layout."""

    layout: Literal["voxceleb1"] = "voxceleb1"
    """``<dev|test>/wav/id<number>/<video>/<n>.wav``. Both folders hold speakers of all three splits."""
    root: Path
    """Folder with ``dev``, ``test`` and ``iden_split.txt``."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


@dataclass(frozen=True)
class _Line:
    """One line of the split file."""

    split: str
    path: str
    speaker_number: int
    video: str


def read_voxceleb1(data: VoxCeleb1Data) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``train``, ``dev`` and ``test``, by its split file.

    Returns:
        Tables with the columns id (``<speaker>-<video>-<n>``), wav_path, num_samples, label (``speaker_0`` is
        id10001), speaker and video, sorted by id.

    Raises:
        UserError: the split file is missing, malformed or leaves a split empty; or audio is missing, duplicated,
            unreadable or not 16 kHz.
    """
    lines = _read_split_file(data.root / SPLIT_FILE)
    paths = _find(data.root, lines)
    headers = read_headers(paths, resample=data.resample, root=data.root)
    table = pd.DataFrame(
        {
            "id": [Path(line.path.replace("/", "-")).stem for line in lines],
            "wav_path": [str(path) for path in paths],
            "num_samples": [header.num_samples for header in headers],
            "label": [f"speaker_{line.speaker_number - _FIRST_SPEAKER}" for line in lines],
            "speaker": [line.path.partition("/")[0] for line in lines],
            "video": [line.video for line in lines],
        }
    )
    splits = pd.Series([line.split for line in lines])
    return {split: table[splits == split].sort_values("id", ignore_index=True) for split in _SPLITS.values()}


def _read_split_file(file: Path) -> list[_Line]:
    if not file.is_file():
        raise UserError(
            f"Expected VoxCeleb1 with its split file in {file.parent}. Found no {file.name} there. "
            f"Get it from {_PAGE}/meta/{file.name}, or correct root in the data file."
        )
    lines: dict[str, _Line] = {}
    for number, text in enumerate(read_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        match = _LINE.fullmatch(text.strip())
        if not match:
            raise UserError(
                f"Expected `<1|2|3> id<number>/<video>/<n>.wav` in line {number} of {file}. Found "
                f"{shortened(text.strip())!r}. Correct the line."
            )
        path = match["path"]
        if path in lines:
            raise UserError(
                f"Expected every file once in {file}. Found {shortened(path)} again in line {number}. Remove one."
            )
        lines[path] = _Line(_SPLITS[match["code"]], path, int(match["number"]), match["video"])
    splits = {line.split for line in lines.values()}
    if empty := [f"{split} ({code})" for code, split in _SPLITS.items() if split not in splits]:
        raise UserError(f"Expected files of every split in {file}. Found none for {empty[0]}. Restore it from {_PAGE}.")
    return list(lines.values())


def _find(root: Path, lines: Sequence[_Line]) -> list[Path]:
    """Find the audio of every line in one of the folders ``dev`` and ``test``."""
    folders = [root / part / "wav" for part in PARTS]
    listed = {folder: list(files_below(folder)) for folder in folders}
    there: dict[Path, list[Path]] = defaultdict(list)
    for folder, paths in listed.items():
        for path in filter(is_audio, paths):
            there[path.relative_to(folder).with_suffix("")].append(path)
    found, missing = [], []
    for line in lines:
        paths = there[Path(line.path).with_suffix("")]
        if len(paths) > 1:
            raise UserError(
                f"Expected {line.path} once in {root}. Found {paths[0]} and {paths[1]}. Remove one of them."
            )
        found += paths
        if not paths:
            missing.append(line)
    if missing:
        raise UserError(_what_is_missing(root, missing, found))
    for folder, paths in listed.items():
        warn_of_audio_left_out(folder, found, paths)
    return found


def _what_is_missing(root: Path, missing: Sequence[_Line], found: Sequence[Path]) -> str:
    known = {path.parts[-3] for path in found}
    lost = sorted({speaker for line in missing if (speaker := line.path.partition("/")[0]) not in known})
    speakers = f", among them all of {len(lost)} speakers ({shortened(lost[0], 40)}, ...)" if lost else ""
    return (
        f"Expected audio of every line of {SPLIT_FILE} below dev/wav or test/wav of {root}. Found none for "
        f"{shortened(missing[0].path, 60)} ({len(missing)} missing{speakers}). "
        f"Get both archives from {_PAGE}, or remove the lines."
    )
