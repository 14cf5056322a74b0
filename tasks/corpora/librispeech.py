"""LibriSpeech's layout: utterances with their transcripts, read exactly and checked to be complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bench.audio.files import read_headers
from bench.audio.search import files_below, is_audio
from bench.contracts import Settings
from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.left_out import warn_of_audio_left_out
from tasks.corpora.text_files import read_text

_PAGE = "openslr.org/12"


class LibriSpeechData(Settings):
    """LibriSpeech, or your own speech in its layout."""

    layout: Literal["librispeech"] = "librispeech"
    """``<split>/<speaker>/<chapter>/<speaker>-<chapter>-<n>.flac`` with ``<speaker>-<chapter>.trans.txt`` in the folder."""  # noqa: E501
    root: Path
    """Folder with ``SPEAKERS.TXT`` and the splits."""
    train_splits: tuple[str, ...] = ("train-clean-100",)
    """Folders to train the head on."""
    dev_splits: tuple[str, ...] = ("dev-clean",)
    """Folders to select the best head on."""
    test_splits: tuple[str, ...] = ("test-clean",)
    """Folders to score, as one set."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


def read_librispeech(data: LibriSpeechData) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``train``, ``dev`` and ``test``.

    Returns:
        Tables with the columns id, wav_path, num_samples, transcription, speaker and corpus_split, sorted by id.

    Raises:
        UserError: a split, audio or a transcript is missing, an id occurs twice, or audio is unreadable or not 16 kHz.
    """
    if not (data.root / "SPEAKERS.TXT").is_file():
        raise UserError(
            f"Expected LibriSpeech in {data.root}. Found no SPEAKERS.TXT there. "
            f"Get the corpus from {_PAGE}, or correct root in the data file."
        )
    chosen = {"train": data.train_splits, "dev": data.dev_splits, "test": data.test_splits}
    names = Counter(name for splits in chosen.values() for name in splits)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise UserError(
            f"Expected every split of {data.root} in one place. Found {repeated[0]} in two. "
            "Correct train_splits, dev_splits and test_splits in the data file."
        )
    tables = {}
    for split, folders in chosen.items():
        if not folders:
            raise UserError(
                f"Expected at least one folder in {split}_splits. Found none. Name one, such as {split}-clean."
            )
        rows = [row for folder in folders for row in _read_split(data, folder)]
        _check_once(rows, split)
        rows.sort(key=lambda row: str(row["id"]))
        tables[split] = pd.DataFrame(rows)
    return tables


def _check_once(rows: Iterable[Mapping[str, Any]], split: str) -> None:
    taken: dict[str, str] = {}
    for row in rows:
        if row["id"] in taken:
            raise UserError(
                f"Expected every utterance of {split} once. Found {row['id']} as {taken[row['id']]} and as "
                f"{row['wav_path']}. Remove one."
            )
        taken[row["id"]] = row["wav_path"]


def _read_split(data: LibriSpeechData, split: str) -> list[dict[str, Any]]:
    folder = data.root / split
    listed = list(files_below(folder))
    audio = sorted(path for path in listed if is_audio(path))
    if not audio:
        raise UserError(
            f"Expected LibriSpeech's {folder.name} in {folder}. Found {'no .flac' if folder.is_dir() else 'nothing'} "
            f"there. Get {folder.name}.tar.gz from {_PAGE}, or name other splits in the data file."
        )
    warn_of_audio_left_out(folder, audio, listed)
    lines = _read_transcripts([path for path in listed if path.name.lower().endswith(".trans.txt")])
    rows = []
    files = read_headers(audio, resample=data.resample, root=data.root)
    for path, file in zip(audio, files, strict=True):
        rows.append(
            {
                "id": path.stem,
                "wav_path": str(path),
                "num_samples": file.num_samples,
                "transcription": _transcript(path, lines),
                "speaker": path.stem.partition("-")[0],
                "corpus_split": folder.name,
            }
        )
    found = {(path.parent, path.stem) for path in audio}
    missing = [(chapter, name) for chapter, names in lines.items() for name in names if (chapter, name) not in found]
    if missing:
        chapter, name = missing[0]
        raise UserError(
            f"Expected audio of every transcript. Found no {shortened(name)}.flac in {chapter} ({len(missing)} missing "
            f"below {folder}). Restore it ({_PAGE}), or remove its line."
        )
    return rows


def _transcript(audio: Path, lines: Mapping[Path, Mapping[str, str]]) -> str:
    """Look up a file's transcript in its folder."""
    chapter = audio.parent
    if chapter not in lines:
        raise UserError(
            f"Expected <speaker>-<chapter>.trans.txt in {chapter}. Found audio without it. "
            f"Restore the file ({_PAGE}), or remove the folder."
        )
    if audio.stem not in lines[chapter]:
        raise UserError(
            f"Expected a transcript of {audio.name}. Found no line for it in {chapter}/*.trans.txt. "
            f"Restore the file ({_PAGE}), or remove the audio."
        )
    return lines[chapter][audio.stem]


def _read_transcripts(files: Iterable[Path]) -> dict[Path, dict[str, str]]:
    """Read the lines ``<utterance id> <WORDS>`` of chapters unchanged, by folder and id."""
    transcripts: dict[Path, dict[str, str]] = {}
    for file in files:
        lines = transcripts.setdefault(file.parent, {})
        for number, line in enumerate(read_text(file).split("\n"), start=1):
            name, _, words = line.partition(" ")
            if name and not words.strip():
                raise UserError(
                    f"Expected words after {shortened(name)} in line {number} of {file}. Found none. Correct the line."
                )
            if name in lines:
                raise UserError(
                    f"Expected one line for every utterance in {file}. Found {shortened(name)} again in line "
                    f"{number}. Remove one."
                )
            if name:
                lines[name] = words
    return transcripts
