"""Corpora with damage: every audio file is read, or a refusal or a warning says what is not."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import strategies as st

from bench.audio.sources import audio_left_out, source_paths
from bench.contracts import AudioSource
from bench.errors import UserError
from tasks.corpora.fluent_speech_commands import FluentSpeechCommandsData, read_fluent_speech_commands
from tasks.corpora.iemocap import IEMOCAPData, read_iemocap
from tasks.corpora.librispeech import LibriSpeechData, read_librispeech
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.corpora.snips import SNIPSData, read_snips
from tasks.corpora.speech_commands import SpeechCommandsData, read_speech_commands
from tasks.corpora.voxceleb1 import VoxCeleb1Data, read_voxceleb1
from tests.fuzz.harness import PROFILES, ends_well, fuzz

NUMBERS = count()
"""So that no two things outside a corpus have one name."""
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
# By the hash that Speech Commands splits speakers with.
TRAIN_SPEAKER, DEV_SPEAKER = "a", "s3"


@cache
def sound(suffix: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(480, 0.1), 16_000, format=suffix[1:].upper())
    return file.getvalue()


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound(path.suffix))


def put_text(root: Path, name: str, *lines: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("".join(f"{line}\n" for line in lines))


def librispeech(root: Path) -> None:
    put_text(root, "SPEAKERS.TXT", "; made up")
    for speaker, split in enumerate(("train-clean-100", "dev-clean", "test-clean"), start=1):
        for chapter in "78":
            names = [f"{speaker}-{chapter}-{number}" for number in range(2)]
            put(root / split / str(speaker) / chapter, *(f"{name}.flac" for name in names))
            put_text(
                root / split / str(speaker) / chapter,
                f"{speaker}-{chapter}.trans.txt",
                *(f"{name} ONE" for name in names),
            )


def speech_commands(root: Path) -> None:
    for word in ("yes", "no", "tree"):
        put(root / "train" / word, *(f"{who}_nohash_{n}.wav" for who in (TRAIN_SPEAKER, DEV_SPEAKER) for n in range(2)))
    put(root / "train" / "_background_noise_", "hum.wav")
    for word in ("yes", "no", "_unknown_", "_silence_"):
        put(root / "test" / word, f"{TRAIN_SPEAKER}_nohash_7.wav")


def voxceleb1(root: Path) -> None:
    lines = []
    for speaker in ("id10001", "id10002"):
        for code, video in enumerate(("x", "y", "z"), start=1):
            put(root / ("dev" if video == "x" else "test") / "wav", f"{speaker}/{video}/00001.wav")
            lines.append(f"{code} {speaker}/{video}/00001.wav")
    put_text(root, "iden_split.txt", *lines)


def iemocap(root: Path) -> None:
    for session in range(1, 6):
        dialog = f"Ses0{session}F_impro01"
        names = [f"{dialog}_F00{number}" for number in range(4)]
        put(root / f"Session{session}" / "sentences" / "wav" / dialog, *(f"{name}.wav" for name in names))
        put_text(
            root / f"Session{session}" / "dialog" / "EmoEvaluation",
            f"{dialog}.txt",
            *(
                f"[1.0 - 2.0]\t{name}\t{emotion}\t[2.5, 2.5, 2.5]"
                for name, emotion in zip(names, ("neu", "hap", "ang", "sad"), strict=True)
            ),
        )


def fluent(root: Path) -> None:
    for split in ("train", "valid", "test"):
        rows = ["path,speakerId,transcription,action,object,location"]
        for number in range(2):
            path = f"wavs/speakers/{split}/{split}{number}.wav"
            put(root, path)
            rows.append(f"{path},{split},light on,activate,lights,none")
        put_text(root, f"data/{split}_data.csv", *rows)


def snips(root: Path) -> None:
    lines = []
    for speaker, split in (("Ivy", "train"), ("Amy", "valid"), ("Emma", "test")):
        for number in range(2):
            name = f"{speaker}-snips-{split}-{number}"
            put(root / split / speaker, f"{name}.wav")
            lines.append(f"{name} BOS play it EOS\tO O O Play")
    put_text(root, "all.iob.snips.txt", *lines)


def manifest(root: Path) -> None:
    rows = ["path,split,label"]
    for split in ("train", "dev", "test"):
        put(root, f"clips/{split}.wav")
        rows.append(f"clips/{split}.wav,{split},yes")
    put_text(root, "own.csv", *rows)


def folder(root: Path) -> None:
    put(root, "a/1.wav", "a/2.flac", "b/c/3.mp3", "4.ogg")


def tables(read: Callable[[Any], Any], data: Any) -> set[Path]:
    """Name the files that a reader's tables list."""
    found = read(data)
    frames = [found] if isinstance(found, pd.DataFrame) else found.values()
    return {Path(path) for frame in frames for path in frame["wav_path"]}


def heard(source: AudioSource) -> set[Path]:
    for remark in audio_left_out(source):
        logging.getLogger("tasks").warning(remark)
    paths = source_paths(source)
    assert len(paths) == len(set(paths))
    return set(paths)


SNIPS_SPEAKERS = {"train_speakers": ("Ivy",), "dev_speakers": ("Amy",), "test_speakers": ("Emma",)}
LAYOUTS: dict[str, tuple[Callable[[Path], None], Callable[[Path], set[Path]]]] = {
    "librispeech": (librispeech, lambda root: tables(read_librispeech, LibriSpeechData(root=root))),
    "speech_commands": (
        speech_commands,
        lambda root: tables(read_speech_commands, SpeechCommandsData(root=root / "train", test_root=root / "test")),
    ),
    "voxceleb1": (voxceleb1, lambda root: tables(read_voxceleb1, VoxCeleb1Data(root=root))),
    "iemocap": (iemocap, lambda root: tables(read_iemocap, IEMOCAPData(root=root))),
    "fluent_speech_commands": (
        fluent,
        lambda root: tables(read_fluent_speech_commands, FluentSpeechCommandsData(root=root)),
    ),
    "snips": (snips, lambda root: tables(read_snips, SNIPSData(root=root, **SNIPS_SPEAKERS))),
    "manifest": (
        manifest,
        lambda root: tables(lambda data: read_own_data(data, ("label",)), ManifestData(manifest=root / "own.csv")),
    ),
    "folder": (folder, lambda root: heard(AudioSource(root=root))),
    "librispeech audio": (
        librispeech,
        lambda root: heard(
            AudioSource(layout="librispeech", root=root, splits=("train-clean-100", "dev-clean", "test-clean"))
        ),
    ),
}


def audio_of(root: Path) -> list[Path]:
    """List the audio files by other means than the suite does."""
    found: dict[Path, Path] = {}
    seen: set[str] = set()
    for parent, folders, names in os.walk(root, followlinks=True):
        # In place, so that what a link leads back to is not walked again.
        folders[:] = [name for name in folders if os.path.realpath(Path(parent) / name) not in seen]
        seen |= {os.path.realpath(Path(parent) / name) for name in folders}
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("._"):
                found.setdefault((Path(parent) / name).resolve(), Path(parent) / name)
    return sorted(found.values())


def to_capitals(path: Path, _outside: Path) -> None:
    path.rename(path.with_suffix(path.suffix.upper()))


def to_another_disk(path: Path, outside: Path) -> None:
    parent = path.parent
    if parent.parent == outside.parent:  # The root itself.
        return
    target = outside / f"disk{next(NUMBERS)}"
    shutil.move(parent, target)
    parent.symlink_to(target)


def unmount(path: Path, outside: Path) -> None:
    to_another_disk(path, outside)
    if path.parent.is_symlink():
        shutil.rmtree(path.parent.resolve())


def link_file(path: Path, outside: Path) -> None:
    target = outside / f"file{next(NUMBERS)}{path.suffix}"
    shutil.move(path, target)
    path.symlink_to(target)


def loop(path: Path, _outside: Path) -> None:
    if not (path.parent / "loop").is_symlink():
        (path.parent / "loop").symlink_to(path.parent.parent)


def add_apple_twin(path: Path, _outside: Path) -> None:
    (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")


def remove(path: Path, _outside: Path) -> None:
    path.unlink()


def add(path: Path, _outside: Path) -> None:
    shutil.copy(path, path.with_name(f"{path.stem}9{path.suffix}"))


def add_deeper(path: Path, _outside: Path) -> None:
    (path.parent / "deeper").mkdir(exist_ok=True)
    shutil.copy(path, path.parent / "deeper" / path.name)


def add_other_format(path: Path, _outside: Path) -> None:
    path.with_suffix(".m4a").write_bytes(b"?")


def add_same_name(path: Path, _outside: Path) -> None:
    other = ".flac" if path.suffix.lower() != ".flac" else ".wav"
    path.with_suffix(other).write_bytes(sound(other))


def to_latin1(path: Path, _outside: Path) -> None:
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/\xe9_nohash_" + os.fsencode(path.name)))


def to_pipe(path: Path, _outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [
    to_capitals,
    to_another_disk,
    unmount,
    link_file,
    loop,
    add_apple_twin,
    remove,
    add,
    add_deeper,
    add_other_format,
    add_same_name,
    to_latin1,
    to_pipe,
]


def read_whole_or_told(layout: str, root: Path) -> str:
    """Read a corpus; say ``read``, ``refused`` or ``warned``, and fail if a part is left out in silence."""
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tasks")
    logger.addHandler(handler)
    found: set[Path] = set()

    def read(path: Path) -> None:
        found.update(LAYOUTS[layout][1](path))

    try:
        if ends_well(read, root):
            return "refused"
    finally:
        logger.removeHandler(handler)
    there = {path.resolve() for path in audio_of(root)}
    missing = there - {path.resolve() for path in found}
    # A table is a choice; what lies next to it is not its business.
    if missing and layout != "manifest":
        assert warnings, f"{layout}: nothing is said about {sorted(missing)}"
        return "warned"
    return "read"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("profile", PROFILES)
def test_corpora_with_damage(tmp_path: Path, layout: str, profile: str) -> None:
    def change_and_read(steps: list[tuple[Callable[[Path, Path], None], int]]) -> None:
        shutil.rmtree(tmp_path / "c", ignore_errors=True)
        shutil.rmtree(tmp_path / "outside", ignore_errors=True)
        (tmp_path / "outside").mkdir()
        LAYOUTS[layout][0](tmp_path / "c")
        for change, position in steps:
            # What earlier steps made of a file may be none any more.
            if audio := [path for path in audio_of(tmp_path / "c") if path.is_file()]:
                change(audio[position % len(audio)], tmp_path / "outside")
        read_whole_or_told(layout, tmp_path / "c")

    steps = st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 100)), max_size=4)
    fuzz(change_and_read, steps, profile, examples=[[], *([(change, 0)] for change in CHANGES)], max_examples=15)


READ = {
    "to_capitals": set(LAYOUTS) - {"fluent_speech_commands", "manifest"},
    "to_another_disk": set(LAYOUTS),
    "link_file": set(LAYOUTS),
    "loop": set(LAYOUTS),
    "add_apple_twin": set(LAYOUTS),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_one_change(tmp_path: Path, layout: str, change: Callable[[Path, Path], None]) -> None:
    make, _ = LAYOUTS[layout]
    make(tmp_path / "c")
    (tmp_path / "outside").mkdir()
    count = len(audio_of(tmp_path / "c"))
    change(audio_of(tmp_path / "c")[0], tmp_path / "outside")
    outcome = read_whole_or_told(layout, tmp_path / "c")
    if layout in READ.get(change.__name__, ()):
        assert outcome == "read"
        assert len(audio_of(tmp_path / "c")) == count


def test_dangling_link_is_named(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "disk").symlink_to("/nowhere/at/all")
    with pytest.raises(UserError, match=r"disk.*nowhere"):
        source_paths(AudioSource(root=tmp_path))
