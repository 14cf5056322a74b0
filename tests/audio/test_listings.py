"""Mistakes in lists of utterances of other formats: one line that says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bench.audio.listings.saved_datasets import read_saved_dataset
from bench.audio.manifest import read_manifest
from bench.errors import UserError
from tests.fuzz.test_own_formats import CUT, KALDI


@pytest.fixture(autouse=True)
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.full(16_000, 0.1), 16_000)
    soundfile.write(tmp_path / "stereo.wav", np.array([[0.25, -0.5]] * 16_000), 16_000)


def refusal(path: Path, *columns: str) -> str:
    with pytest.raises(UserError) as caught:
        read_manifest(path, ("path", *columns))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("wav.scp", "r1 touch ran |\nr2 b.wav\n", "command for 'r1'"),
        ("wav.scp", "r1 a.wav\nr1 b.wav\n", "line 2"),
        ("wav.scp", "r1 a.wav\nr2 missing.wav\n", "missing.wav"),
        ("segments", "u1 r1 0.0\n", "'u1'"),
        ("segments", "u1 r1 0.0 later\n", "'later'"),
        ("segments", "u1 r3 0.0 0.5\n", "'r3'"),
        ("segments", "u1 r1 0.5 0.5\nu2 r1 0 1\nu3 r2 0 1\n", "'u1'"),
        ("segments", "u1 r1 0.5 1.6\nu2 r1 0 1\nu3 r2 0 1\n", "1.00 s"),
        ("text", "u9 NULL\n", "'u9'"),
    ],
)
def test_mistakes_in_kaldi_folders(tmp_path: Path, name: str, content: str, found: str) -> None:
    for other, right in KALDI.items():
        (tmp_path / other).write_bytes(right)
    (tmp_path / name).write_text(content)
    assert found in refusal(tmp_path)
    assert not list(tmp_path.rglob("ran"))


def test_a_missing_file_of_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("r1 a.wav\n")
    assert "utt2spk" in refusal(tmp_path, "speaker")


def cut(**changes: Any) -> dict[str, Any]:
    return {**CUT, **changes}


def recording(**changes: Any) -> dict[str, Any]:
    return cut(recording={**CUT["recording"], **changes})


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (cut(type="MixedCut"), "MixedCut"),
        (cut(start="soon"), "start"),
        (cut(start=1.2), "'u1'"),
        (cut(channel=1), "channel 1"),
        (cut(supervisions=CUT["supervisions"] * 2), "Found 2"),
        (recording(sources=[{"type": "command", "source": "touch ran"}]), "command"),
        (recording(transforms=[{"name": "Speed"}]), "transforms"),
    ],
)
def test_mistakes_in_cuts(tmp_path: Path, line: dict[str, Any], found: str) -> None:
    file = tmp_path / "cuts.jsonl"
    # Below a cut without a mistake, which makes the file one of cuts.
    file.write_text(f"{json.dumps(cut(id='u0', start=0))}\n{json.dumps(line)}\n")
    assert found in refusal(file, "text")


def test_a_cut_has_its_channel(tmp_path: Path) -> None:
    source = {"type": "file", "channels": [0, 1], "source": "stereo.wav"}
    (tmp_path / "cuts.jsonl").write_text(json.dumps({**recording(sources=[source], channel_ids=[0, 1]), "channel": 1}))
    (path,) = read_manifest(tmp_path / "cuts.jsonl", ("path",))["path"]
    samples, _ = soundfile.read(tmp_path / path)
    assert samples.shape == (8_000,)
    assert set(samples) == {-0.5}


def test_damaged_data_sets_are_named(tmp_path: Path) -> None:
    for name in ("state.json", "dataset_info.json"):
        (tmp_path / name).write_text("[")
    assert str(tmp_path) in refusal(tmp_path)


def test_loud_samples_stay_as_they_are(tmp_path: Path) -> None:
    loud = np.arange(-(2**15), 2**15, dtype=np.int16)
    soundfile.write(tmp_path / "loud.wav", loud, 16_000)
    (tmp_path / "wav.scp").write_text("r1 loud.wav\n")
    (tmp_path / "segments").write_text("u1 r1 1 -1\n")
    (path,) = read_manifest(tmp_path, ("path",))["path"]
    assert soundfile.read(tmp_path.parent / path, dtype="int16")[0].tolist() == loud[16_000:].tolist()


def test_a_saved_data_set_of_nothing_but_audio_has_an_id_for_every_row(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {"audio": [str(tmp_path / name) for name in ("a.wav", "b.wav")]}
    saved = datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))
    saved.save_to_disk(str(tmp_path / "saved"))
    assert list(read_saved_dataset(tmp_path / "saved").table["id"]) == ["saved-00000000", "saved-00000001"]
