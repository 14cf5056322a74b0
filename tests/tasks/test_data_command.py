"""``bench data synth``: corpora where the user wants them, and a data file that names them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from bench.config.data import describe_data, required_audio
from bench.errors import UserError
from tasks.commands import data
from tasks.mini import corpora, keywords, transcripts
from tasks.mini.randomness import GENERATOR_VERSION

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None or not hasattr(os, "fork"), reason="no synthesiser"
)


def test_writes_a_data_file_with_paths_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (keywords, transcripts):
        monkeypatch.setattr(module, "NUM_SPEAKERS", dict.fromkeys(("train", "dev", "test"), 1))
    monkeypatch.setattr(keywords, "NUM_SILENCES", 2)
    monkeypatch.setattr(corpora, "CORPORA", corpora.CORPORA[:2])
    done = CliRunner().invoke(data, ["synth", str(tmp_path / "here"), "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert f"{GENERATOR_VERSION}-seed3" in done.stdout
    assert "Synthesising" not in done.stdout
    moved = (tmp_path / "here").rename(tmp_path / "there")
    content = yaml.safe_load((moved / "data.yaml").read_text())
    assert (content["name"], content["version"]) == ("mini", f"{GENERATOR_VERSION}-seed3")
    assert content["audio_sha256"]["ks"] == json.loads((moved / "ks" / "corpus.json").read_text())["audio_sha256"]
    assert content["audio"]["splits"] == ["train-clean-100"]
    assert (moved / content["audio"]["root"] / "train-clean-100").is_dir()
    assert (moved / content["tasks"]["asr"]["root"] / "SPEAKERS.TXT").is_file()
    assert (moved / content["tasks"]["ks"]["root"] / "yes").is_dir()
    assert (moved / content["tasks"]["ks"]["test_root"] / "_silence_").is_dir()


def test_unlabelled_speech_becomes_what_compression_hears(tmp_path: Path) -> None:
    done = CliRunner().invoke(data, ["synth", str(tmp_path / "here"), "--unlabelled", "--hours", "0.01"])
    assert done.exit_code == 0, done.output
    moved = (tmp_path / "here").rename(tmp_path / "there")
    resolved = describe_data(str(moved / "data.yaml"), {}, {})
    assert resolved.tasks == {}
    source = required_audio(resolved)
    assert source.manifest is not None
    rows = pd.read_csv(source.manifest)
    assert {source.manifest.parent / path for path in rows["path"]} == set((moved / "unlabelled").rglob("*.flac"))
    assert set(rows["split"]) == {"train"}


@pytest.mark.parametrize("option", [["--hours", "2"], ["--clean"]])
def test_an_option_of_unlabelled_speech_is_refused_for_the_tasks(option: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(data, ["synth", str(tmp_path), *option])
    assert isinstance(done.exception, UserError)
    assert "--unlabelled" in str(done.exception)


def test_is_imported_without_torch_and_without_numpy() -> None:
    script = (
        "import sys, tasks.commands; print([name for name in ('torch', 'numpy', 'rich.table') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout
    assert "numpy" not in done.stdout


@pytest.mark.slow
def test_the_whole_set_as_a_user_makes_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(data, ["synth", str(tmp_path)])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines() if " ks " in line or " asr " in line]
    counts = {(cells[1], cells[3]): int(cells[5]) for cells in lines}
    assert counts == {
        ("ks", "train"): 1006,
        ("ks", "dev"): 200,
        ("ks", "test"): 960,
        ("asr", "train"): 800,
        ("asr", "dev"): 120,
        ("asr", "test"): 320,
    }
