"""Audio SNIPS' layout: requests to an assistant, with the slot of every word."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from bench.audio.files import read_headers
from bench.audio.search import files_below, is_audio
from bench.contracts import Settings
from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.left_out import warn_of_audio_left_out
from tasks.corpora.text_files import read_text

logger = logging.getLogger(__name__)

TRANSCRIPTS = "all.iob.snips.txt"
_SPLIT_FOLDERS = {"train": "train", "dev": "valid", "test": "test"}
_RESTORE = "Prepare Audio SNIPS as s3prl describes (docs/superb.md there, SF), or correct root in the data file."

# How s3prl's recipe normalises words.
# Source: s3prl 0.4.18, problem/asr/superb_sf.py, audio_snips_for_slot_filling.
_REPLACED = {"楽園追放": "EXPELLED", "官方杂志": "", "\N{EN DASH}": "-", "&": " AND "}
_LETTERS = str.maketrans('ÁÃÄÅÆÇÈÉÊËÍÏÐÒÓÔÖØÚÛĘŃŌŞŪ"', "AAAAACEEEEIIDOOOOOUUENOSU ")
_PUNCTUATION = "?!.,;-\N{EN DASH}…"


class SNIPSData(Settings):
    """Audio SNIPS, or your own requests in its layout."""

    layout: Literal["snips"] = "snips"
    """``all.iob.snips.txt``, and ``{train,valid,test}`` with ``<speaker>-snips-<split>-<n>.wav`` at any depth."""
    root: Path
    """Folder with the transcripts and the splits."""
    train_speakers: tuple[str, ...] = (
        "Ivy",
        "Joanna",
        "Joey",
        "Justin",
        "Kendra",
        "Kimberly",
        "Matthew",
        "Salli",
    )
    """Speakers to read from the folder ``train``; all if empty."""
    dev_speakers: tuple[str, ...] = ("Aditi", "Amy", "Geraint", "Nicole")
    """Speakers to read from the folder ``valid``; all if empty."""
    test_speakers: tuple[str, ...] = ("Brian", "Emma", "Raveena", "Russell")
    """Speakers to read from the folder ``test``; all if empty."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


class _Request(NamedTuple):
    """One line of the transcripts, normalised like in s3prl's recipe."""

    transcription: str
    iob: str
    intent: str


def read_snips(data: SNIPSData) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``train``, ``dev`` and ``test``.

    Audio without a line in the transcripts is left out, as in s3prl.

    Returns:
        Tables with the columns id, wav_path, num_samples, transcription (words as s3prl normalises them), iob (the slot
        of every word, ``O`` for none), intent, speaker and corpus_split, sorted by id.

    Raises:
        UserError: transcripts, audio or a speaker is missing, an id occurs twice, a line is malformed, or audio is
            unreadable or not 16 kHz.
    """
    lines = _read_lines(data.root / TRANSCRIPTS)
    chosen = {"train": data.train_speakers, "dev": data.dev_speakers, "test": data.test_speakers}
    _warn_of_lines_left_out(lines, chosen)
    return {split: _read_split(data, folder, lines, chosen[split]) for split, folder in _SPLIT_FOLDERS.items()}


def _read_split(data: SNIPSData, split: str, lines: Mapping[str, str], speakers: tuple[str, ...]) -> pd.DataFrame:
    folder = data.root / split
    audio = _find_audio(folder, lines, speakers)
    _check_complete(folder, lines, speakers, audio)
    names = sorted(audio)
    rows: list[dict[str, Any]] = []
    headers = read_headers([audio[name] for name in names], resample=data.resample, root=data.root)
    for name, header in zip(names, headers, strict=True):
        request = _parsed(name, lines[name], folder.parent / TRANSCRIPTS)
        rows.append(
            {
                "id": name,
                "wav_path": str(audio[name]),
                "num_samples": header.num_samples,
                **request._asdict(),
                "speaker": _speaker(name),
                "corpus_split": folder.name,
            }
        )
    return pd.DataFrame(rows)


def _warn_of_lines_left_out(lines: Iterable[str], chosen: Mapping[str, tuple[str, ...]]) -> None:
    """Warn of transcripts that belong to no split or to no chosen speaker."""
    is_choice = all(chosen.values())
    speakers = {speaker for names in chosen.values() for speaker in names}
    left = [
        name
        for name in lines
        if name.split("-")[1:-1] not in [["snips", folder] for folder in _SPLIT_FOLDERS.values()]
        or (is_choice and _speaker(name) not in speakers)
    ]
    if left:
        logger.warning(
            "%d lines of %s are not read, such as %s: they belong to no split or no chosen speaker. Rename them, name "
            "the speakers in the data file, or ignore this if they do not belong to the corpus.",
            len(left),
            TRANSCRIPTS,
            shortened(left[0]),
        )


def _find_audio(folder: Path, lines: Mapping[str, str], speakers: tuple[str, ...]) -> dict[str, Path]:
    """Find the transcribed audio of the chosen speakers, by id."""
    found: dict[str, Path] = {}
    num_without_line = 0
    listed = list(files_below(folder))
    audio = sorted(path for path in listed if is_audio(path))
    warn_of_audio_left_out(folder, audio, listed)
    for path in audio:
        if path.stem not in lines:
            num_without_line += 1
        elif not speakers or _speaker(path.stem) in speakers:
            if path.stem in found:
                raise UserError(
                    f"Expected every id once in {folder}. Found {shortened(path.stem)} as {found[path.stem]} and as "
                    f"{path}. Remove one."
                )
            found[path.stem] = path
    if num_without_line:
        logger.warning(
            "Left out %d files of %s that have no line in %s, as s3prl does.", num_without_line, folder, TRANSCRIPTS
        )
    return found


def _check_complete(
    folder: Path, lines: Mapping[str, str], speakers: tuple[str, ...], audio: Mapping[str, Path]
) -> None:
    if not audio:
        raise UserError(
            f"Expected .wav files of {shortened(', '.join(speakers)) or 'any speaker'} with a line in {TRANSCRIPTS} "
            f"below {folder}. Found {'none' if folder.is_dir() else 'no such folder'}. {_RESTORE}"
        )
    found = {_speaker(name) for name in audio}
    if lacking := [speaker for speaker in speakers if speaker not in found]:
        raise UserError(
            f"Expected audio of {shortened(lacking[0])} in {folder}. Found that of "
            f"{shortened(', '.join(sorted(found)))}. Restore it, or name other speakers in the data file."
        )
    wanted = (name for name in lines if name.split("-")[1:-1] == ["snips", folder.name])
    if missing := [name for name in wanted if name not in audio and _speaker(name) in (speakers or found)]:
        raise UserError(
            f"Expected audio of every line of {TRANSCRIPTS}. Found no {shortened(missing[0])}.wav in {folder} "
            f"({len(missing)} missing). Restore it, or remove its line."
        )


def _speaker(name: str) -> str:
    return name.partition("-")[0]


def _read_lines(file: Path) -> dict[str, str]:
    """Map the id of every line to the rest of the line."""
    if not file.is_file():
        raise UserError(f"Expected Audio SNIPS. Found no {file}. {_RESTORE}")
    lines: dict[str, str] = {}
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        name, _, rest = line.strip().partition(" ")
        if name in lines:
            raise UserError(
                f"Expected every id once in {file}. Found {shortened(name)} again in line {number}. Remove one."
            )
        if name:
            lines[name] = rest
    return lines


def _parsed(name: str, line: str, file: Path) -> _Request:
    """Parse a line, and normalise its words as s3prl does."""
    # Split only at plain spaces: real transcripts have other spaces within words.
    text, *annotations = [part.strip().split(" ") for part in line.split("\t")]
    if len(annotations) != 1 or len(annotations[0]) < 2 or len(text) < 2 or (text[0], text[-1]) != ("BOS", "EOS"):
        raise UserError(
            f"Expected `<id> BOS <words> EOS`, a tab, and `O <a slot for every word> <intent>`. "
            f"Line {shortened(name)} of {file} has another form. Correct it."
        )
    _, *slots, intent = annotations[0]
    words = _normalised(" ".join(text[1:-1]))
    if len(words) != len(slots):
        raise UserError(
            f"Expected a slot for every word. Line {shortened(name)} of {file} has {len(words)} words and "
            f"{len(slots)} slots. Correct it."
        )
    kept = [(word, slot) for word, slot in zip(words, slots, strict=True) if word not in _PUNCTUATION]
    if not kept:
        raise UserError(
            f"Expected words in line {shortened(name)} of {file}. Found none. Correct it, or remove it and its audio."
        )
    return _Request(" ".join(word for word, _ in kept), " ".join(slot for _, slot in kept), intent)


def _normalised(text: str) -> list[str]:
    for found, replacement in _REPLACED.items():
        text = text.replace(found, replacement)
    return [word for word in text.translate(_LETTERS).split(" ") if word]
