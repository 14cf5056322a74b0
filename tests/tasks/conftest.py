"""A tiny upstream and tiny corpora of tones, in the layouts of the real ones."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.speech_commands import SpeechCommandsData, partition
from tests.helpers.manifests import COLUMNS, LEXICON, Write
from tests.helpers.upstreams import LogMel, TinyUpstream


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: object) -> None:
        # Data-loading workers hand over tensors through local sockets.
        assert self.family == socket.AF_UNIX, f"something tried to reach {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def upstream() -> TinyUpstream:
    return TinyUpstream()


@pytest.fixture
def log_mel() -> LogMel:
    return LogMel()


@pytest.fixture
def make_upstream() -> type[TinyUpstream]:
    return TinyUpstream


@pytest.fixture
def write_tone() -> Callable[..., None]:
    def write(path: Path, duration_s: float, pitch_hz: float, sample_rate_hz: int = 16_000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch_hz * time_s), sample_rate_hz)

    return write


def speaker_of(part: str, index: int) -> str:
    """Invent the name of a speaker whom SUPERB's hash assigns to ``train``, ``dev`` or ``unused``."""
    names = (f"{part}{number}" for number in range(10_000))
    chosen = (name for name in names if partition(f"{name}_nohash_0.wav") == part)
    return [next(chosen) for _ in range(index + 1)][-1]


@pytest.fixture
def speech_commands(tmp_path: Path, write_tone: Callable[..., None]) -> SpeechCommandsData:
    """Keywords ``yes`` and ``NULL``, another word, noise and silence."""
    root, test_root = tmp_path / "commands", tmp_path / "commands_test"
    pitches_hz = {"yes": 300.0, "NULL": 900.0, "tree": 2000.0}
    for word, pitch_hz in pitches_hz.items():
        for part, count in (("train", 4), ("dev", 2), ("unused", 1)):
            for index in range(count):
                write_tone(root / word / f"{speaker_of(part, index)}_nohash_0.wav", 0.4, pitch_hz + index)
    write_tone(root / "_background_noise_" / "hum.wav", 2.5, 50.0)
    for folder, pitch_hz in {"yes": 300.0, "NULL": 900.0, "_unknown_": 2000.0, "_silence_": 50.0}.items():
        for index in range(2):
            write_tone(test_root / folder / f"{speaker_of('train', index)}_nohash_0.wav", 0.4, pitch_hz)
    return SpeechCommandsData(root=root, test_root=test_root)


@pytest.fixture
def librispeech(tmp_path: Path, write_tone: Callable[..., None]) -> LibriSpeechData:
    """Three splits of one speaker each; the words are awkward, and the last line has no end."""
    root = tmp_path / "LibriSpeech"
    texts = ["NULL", "A CAB", "NAN", "BAD DAD", "NA", "CAB"]
    for speaker, split in enumerate(("train-clean-100", "dev-clean", "test-clean"), start=11):
        chapter = root / split / str(speaker) / "7"
        lines = []
        for index, text in enumerate(texts):
            write_tone(chapter / f"{speaker}-7-{index:04d}.flac", 0.5 + 0.05 * index, 200.0 * (index + 1))
            lines.append(f"{speaker}-7-{index:04d} {text}")
        (chapter / f"{speaker}-7.trans.txt").write_text("\n".join(lines), encoding="utf-8")
    (root / "SPEAKERS.TXT").write_text(";ID |SEX| SUBSET |MINUTES| NAME\n11 | F | train-clean-100 | 1 | X\n")
    return LibriSpeechData(root=root)


@pytest.fixture
def write_manifest(tmp_path: Path) -> Write:
    def write(rows: Sequence[Mapping[str, str]], name: str = "own.csv") -> Path:
        path = tmp_path / name
        if path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        return path

    return write


@pytest.fixture
def rows_of(tmp_path: Path, write_tone: Callable[..., None]) -> Callable[[str], list[dict[str, str]]]:
    """Make audio and rows for a task: what three utterances are, twice in train and once in dev and test."""

    def rows(task: str) -> list[dict[str, str]]:
        made = []
        for number, (split, part) in enumerate([("train", 0), ("train", 1), ("dev", 0), ("test", 0)]):
            for index, columns in enumerate(COLUMNS[task]):
                path = f"audio/{split}/{part}-{index}.wav"
                write_tone(tmp_path / path, 0.6 + 0.05 * index, 200.0 * (index + 1) + 10 * number)
                made.append({"path": path, "split": split, **columns, "microphone": f"m{index}"})
        return made

    (tmp_path / "lexicon.txt").write_text(LEXICON)
    return rows
