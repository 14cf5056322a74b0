"""Kaldi's folders and lhotse's cuts with damage: the same bounds as manifests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from bench.audio.manifest import read_manifest
from tests.fuzz.damage import HOSTILE, damaged_json
from tests.fuzz.harness import PROFILES, ends_well, fuzz
from tests.fuzz.test_text_tables import DAMAGES, LONG, Damage, damaged

KALDI = {
    "wav.scp": b"r1 a.wav\nr2 b.wav\n",
    "segments": b"u1 r1 0.0 0.5\nu2 r1 0.5 -1\nu3 r2 0.1 0.9\n",
    "text": b"u1 NULL TEA\nu2 NA\nu3\n",
    "utt2spk": b"u1 s1\nu2 s1\nu3 007\n",
    "utt2split": b"u1 train\nu2 dev\nu3 test\n",
}
CUT: dict[str, Any] = {
    "id": "u1",
    "start": 0.25,
    "duration": 0.5,
    "channel": 0,
    "supervisions": [{"id": "s", "recording_id": "r", "start": 0, "duration": 0.5, "text": "NULL", "speaker": "7"}],
    "recording": {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
        "sampling_rate": 16_000,
        "num_samples": 16_000,
        "duration": 1.0,
        "channel_ids": [0],
    },
    "custom": {"split": "train"},
    "type": "MonoCut",
}


@pytest.fixture(autouse=True)
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.full(16_000, 0.1), 16_000)


def read(path: Path) -> None:
    table = read_manifest(path, ("path", "text"))
    assert all(isinstance(value, str) for value in table.to_numpy().ravel())
    # Nothing is written outside the cache.
    assert not (path.parent / "ran").exists()


@pytest.mark.parametrize("name", KALDI)
@pytest.mark.parametrize("profile", PROFILES)
def test_kaldi(tmp_path: Path, name: str, profile: str) -> None:
    for other, content in KALDI.items():
        (tmp_path / other).write_bytes(content)

    def read_damaged(damage: Damage) -> None:
        (tmp_path / name).write_bytes(damaged(KALDI[name], damage))
        read(tmp_path)

    pieces = [b"touch ran |", b"| touch ran", b"1e999", b"nan", b"-", b"../../x", b"/dev/zero", b"r1 ", LONG.encode()]
    examples = [[(place, 2, piece)] for place in (0, 3, 6) for piece in pieces]
    fuzz(read_damaged, DAMAGES, profile, examples=[*examples, [(0, 10_000, b"")]])


@pytest.mark.parametrize("profile", PROFILES)
def test_lhotse_cuts(tmp_path: Path, profile: str) -> None:
    file = tmp_path / "cuts.jsonl"

    def read_line(line: bytes) -> None:
        file.write_bytes(line + b"\n")
        read(file)

    hostile = [
        {**CUT, **change}
        for value in HOSTILE
        for change in (
            *({key: value} for key in CUT),
            {"recording": {**CUT["recording"], "duration": value}},
            {"recording": {**CUT["recording"], "sources": [{"type": "file", "source": value}]}},
            {"supervisions": [{**CUT["supervisions"][0], "custom": {"path": value, "id": value, "split": value}}]},
        )
    ]
    fuzz(read_line, damaged_json(CUT), profile, examples=[json.dumps(cut).encode() for cut in hostile])


@pytest.mark.parametrize("profile", PROFILES)
def test_compressed_cuts(tmp_path: Path, profile: str) -> None:
    file = tmp_path / "cuts.jsonl.gz"
    whole = gzip.compress(json.dumps(CUT).encode() + b"\n", mtime=0)

    def read_damaged(damage: Damage) -> None:
        file.write_bytes(damaged(whole, damage))
        read(file)

    fuzz(read_damaged, DAMAGES, profile, examples=[[], [(0, 10_000, b"")], [(len(whole) // 2, 10_000, b"")]])


@pytest.mark.parametrize("line", [b" " * 10**5 + b"\n", b"x" * 10**6])
def test_a_small_file_that_becomes_large_is_refused(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "cuts.jsonl.gz"
    with gzip.open(file, "wb", compresslevel=1) as lines:
        for _ in range(20):
            lines.write(line)
    assert ends_well(read, file) is not None


@pytest.mark.parametrize("profile", PROFILES)
def test_names_of_parts(tmp_path: Path, profile: str) -> None:
    def read_part(name: str) -> None:
        read_manifest(tmp_path, ("path",), parts={"train": name})

    fuzz(read_part, st.text(), profile, examples=["", ".", "..", "x" * 5_000, "a\0b", "/dev/null"])
