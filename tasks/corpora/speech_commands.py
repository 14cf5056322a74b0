"""Speech Commands v0.01's layout: one folder per word, and a test archive whose folders are the classes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, read_headers
from bench.audio.search import audio_below, is_apple_twin
from bench.contracts import Settings
from bench.errors import UserError
from tasks.corpora.left_out import warn_of_audio_left_out

UNKNOWN = "_unknown_"
SILENCE = "_silence_"
NOISE_FOLDER = "_background_noise_"
_ARCHIVES = "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz and speech_commands_test_set_v0.01.tar.gz"


class SpeechCommandsData(Settings):
    """Speech Commands v0.01, or your own words in its layout."""

    layout: Literal["speech_commands"] = "speech_commands"
    """One folder per word, with ``<speaker>_nohash_<n>.wav`` files."""
    root: Path
    """Training archive: folders of words, and ``_background_noise_``."""
    test_root: Path
    """Test archive. Its folders are the classes, including ``_unknown_`` and ``_silence_``."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


def read_speech_commands(data: SpeechCommandsData) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``train``, ``dev`` and ``test``, with SUPERB's partition and classes.

    The folders of the test archive are the classes; every other training folder is ``_unknown_``. Noise files are cut
    into 1 s segments of silence; train and dev share the training archive's noise.

    Returns:
        Tables with the columns id, wav_path, num_samples, label, start_sec and end_sec (NaN: the whole file).

    Source: s3prl 0.4.18, ``SpeechCommandsV1`` and ``gsc1_for_classification``.

    Raises:
        UserError: a folder is missing or empty, a class lacks clips, or audio is unreadable or not 16 kHz.
    """
    test = {folder.name: _clips(folder) for folder in _folders(data.test_root, "test_root")}
    words = {folder.name: _clips(folder) for folder in _folders(data.root, "root")}
    noises = words.pop(NOISE_FOLDER, [])
    parts: dict[str, list[tuple[str, Path]]] = {"train": [], "dev": [], "unused": []}
    for word, clips in words.items():
        label = word if word in test else UNKNOWN
        for clip in clips:
            parts[partition(clip.name)].append((label, clip))
    for part in ("train", "dev"):
        parts[part] += [(SILENCE, noise) for noise in noises]
    parts["test"] = [(label, clip) for label, clips in test.items() for clip in clips]
    known = {clip for clips in parts.values() for _, clip in clips}
    for root in (data.root, data.test_root):
        warn_of_audio_left_out(root, known)
    _check_classes({label for label, _ in parts["train"]}, set(test), data)
    if not set(words) & {label for label, _ in parts["dev"]}:
        raise UserError(
            f"Expected clips for the dev set (a tenth of the speakers, by a hash of the file name) in {data.root}. "
            f"Found none. Add speakers, or restore the archive ({_ARCHIVES})."
        )
    return {name: _table(parts[name], data) for name in ("train", "dev", "test")}


def _folders(root: Path, key: str) -> list[Path]:
    folders = sorted(path for path in root.glob("*") if path.is_dir() and not _is_hidden(path.name))
    if not folders:
        raise UserError(
            f"Expected Speech Commands v0.01, one folder per word, in {root}. "
            f"Found {'no folders' if root.is_dir() else 'nothing'} there. "
            f"Unpack {_ARCHIVES}, or correct {key} in the data file."
        )
    return folders


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or is_apple_twin(name)


def _clips(folder: Path) -> list[Path]:
    clips = [path for path in audio_below(folder) if path.parent == folder]
    if not clips:
        raise UserError(f"Expected .wav files in {folder}. Found none. Restore the folder ({_ARCHIVES}), or remove it.")
    return clips


def _check_classes(trained: set[str], tested: set[str], data: SpeechCommandsData) -> None:
    """Refuse classes that are missing in one of the two archives."""
    if untrained := sorted(tested - trained):
        source = {SILENCE: f"{data.root / NOISE_FOLDER}", UNKNOWN: f"further words in {data.root}"}
        label = untrained[0]
        raise UserError(
            f"Expected training clips of every class in {data.test_root}. Found none of {label!r}, which come from "
            f"{source.get(label, data.root / label)}. Unpack the archive again, or remove the class' test folder."
        )
    if untested := sorted(trained - tested):
        raise UserError(
            f"Expected a folder {untested[0]} in {data.test_root}, since {data.root} trains that class. Found none. "
            f"Restore it ({_ARCHIVES})."
        )


def partition(name: str) -> str:
    """Assign a clip by its speaker: 10 % dev, 10 % unused, by the corpus's own rule."""
    speaker = re.sub(r"_nohash_.*$", "", name)
    bins = 2**27
    percent = int(hashlib.sha1(speaker.encode(errors="surrogateescape")).hexdigest(), 16) % bins * (100.0 / (bins - 1))
    return "dev" if percent < 10 else "unused" if percent < 20 else "train"


def _table(clips: list[tuple[str, Path]], data: SpeechCommandsData) -> pd.DataFrame:
    files = read_headers([clip for _, clip in clips], resample=data.resample, root=data.root)
    rows = [row for (label, _), file in zip(clips, files, strict=True) for row in _rows(label, file)]
    # s3prl draws batches by position in the table sorted by id.
    rows.sort(key=lambda row: str(row["id"]))
    return pd.DataFrame(rows)


def _rows(label: str, file: AudioFile) -> Iterator[dict[str, Any]]:
    name = f"{file.path.parent.name}/{file.path.name}"
    row = {"id": name, "wav_path": str(file.path), "num_samples": file.num_samples, "label": label}
    if label != SILENCE:
        yield {**row, "start_sec": None, "end_sec": None}
        return
    for start in range(0, file.num_samples, SAMPLE_RATE_HZ):
        end = min(start + SAMPLE_RATE_HZ, file.num_samples)
        segment = {"id": f"{name}_{start}_{end}", "num_samples": end - start}
        yield {**row, **segment, "start_sec": start / SAMPLE_RATE_HZ, "end_sec": end / SAMPLE_RATE_HZ}
