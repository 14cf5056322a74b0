"""Corpora and data files that ``bench data check`` refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from bench.errors import UserError
from tasks import ks
from tasks.commands import data
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.own_data import ManifestData
from tasks.corpora.speech_commands import SpeechCommandsData
from tests.helpers.command_line import bench
from tests.helpers.data_check import Check


class TestUnusable:
    def test_one_does_not_hide_the_others(
        self, check: Check, speech_commands: SpeechCommandsData, librispeech: LibriSpeechData
    ) -> None:
        shutil.rmtree(librispeech.root / "dev-clean")
        entries = {"asr": librispeech, "ks": speech_commands, "sid": {"rooot": "x"}, "kss": {"root": "x"}}
        report = check(entries, audio={"root": librispeech.root / "nowhere"})
        assert {name: corpus["usable"] for name, corpus in report.items()} == {
            "audio": False,
            "asr": False,
            "ks": True,
            "sid": False,
            "kss": False,
        }
        assert "dev-clean.tar.gz from openslr.org/12" in report["asr"]["errors"][0]
        assert "nowhere" in report["audio"]["errors"][0]
        assert "rooot" in report["sid"]["errors"][0]
        assert "Unknown task 'kss'" in report["kss"]["errors"][0]

    def test_tasks_may_be_chosen(self, check: Check, manifest: Callable[..., Path]) -> None:
        entries = {"ks": {"manifest": manifest()}, "asr": {"manifest": "missing.csv"}}
        assert list(check(entries, "--tasks", "ks")) == ["ks"]
        with pytest.raises(UserError, match=r"--tasks sid: .* no entry for it. Known: asr, ks"):
            check(entries, "--tasks", "sid")

    @pytest.mark.parametrize("content", ["tasks: [", "- a list", "surprise: 1", "{}"])
    def test_a_broken_data_file_is_wrong_use(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(content)
        done = CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml")])
        assert isinstance(done.exception, UserError)

    def test_embedded_corpora_are_not_the_user_s(self) -> None:
        with pytest.raises(UserError, match="bench data synth DIR"):
            CliRunner().invoke(data, ["check", "mini"], catch_exceptions=False)

    def test_exit_codes_of_the_program(self, tmp_path: Path, manifest: Callable[..., Path]) -> None:
        codes = []
        for name, entry in {"good": str(manifest()), "bad": "missing.csv"}.items():
            file = tmp_path / f"{name}.yaml"
            file.write_text(yaml.safe_dump({"tasks": {"ks": {"manifest": entry}}}))
            codes.append(bench("data", "check", str(file)).returncode)
        assert [*codes, bench("data", "check", str(tmp_path / "none.yaml")).returncode] == [0, 1, 2]


class TestNewcomers:
    """What is easily done wrong with a first table of one's own says how to mend it."""

    @pytest.mark.parametrize(
        ("entry", "answer"),
        [
            ({"manifest": "."}, "Found a folder at"),
            ({"root": "."}, "list recordings of your own in a table, and write manifest: FILE.csv"),
            ({"manifest": "semicolons.csv"}, "';'"),
            ({"manifest": "tabs.csv"}, r"'\t'"),
            ({"manifest": "latin1.csv"}, "latin1.csv. Found other bytes"),
            ({"manifest": "folder.csv"}, "Found no "),
            ({"manifest": "no_suffix.csv"}, "(1 of 16 missing). Did you mean 'train-0.wav'?"),
            ({"manifest": "mac.csv"}, "Unicode NFC or NFD"),
        ],
    )
    def test_tables(
        self, entry: dict[str, str], answer: str, check: Check, manifest: Callable[..., Path], tmp_path: Path
    ) -> None:
        table = pd.read_csv(manifest(lambda rows: rows[0].update(label="Jürgen")))
        table.to_csv(tmp_path / "semicolons.csv", sep=";", index=False)
        table.to_csv(tmp_path / "tabs.csv", sep="\t", index=False)
        table.to_csv(tmp_path / "latin1.csv", encoding="latin1", index=False)
        table.assign(path=".").to_csv(tmp_path / "folder.csv", index=False)
        table.replace("audio/train-0.wav", "audio/train-0").to_csv(tmp_path / "no_suffix.csv", index=False)
        table.replace("audio/train-0.wav", "audio/J\u00fcrgen.wav").to_csv(tmp_path / "mac.csv", index=False)
        shutil.copy(tmp_path / "audio/train-0.wav", tmp_path / "audio/Ju\u0308rgen.wav")
        (error,) = check({"ks": entry})["ks"]["errors"]
        assert answer in error

    @pytest.mark.parametrize(
        ("content", "answer"),
        [
            ("ks: {manifest: own.csv}", r"Expected ks below tasks in .* Write tasks: {ks: ...}"),
            ("tasks: {ks: own.csv}", r"such as {manifest: mine.csv}\. Found '?own.csv'?"),
        ],
    )
    def test_data_files(self, content: str, answer: str, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(content)
        with pytest.raises(UserError, match=answer):
            CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml")], catch_exceptions=False)

    def test_all_unusable_files_are_told_at_once(
        self, check: Check, manifest: Callable[..., Path], tmp_path: Path, write_tone: Callable[..., None]
    ) -> None:
        own = manifest()
        write_tone(tmp_path / "audio/train-0.wav", 0.5, 100.0, 8_000)
        (tmp_path / "audio/train-1.wav").write_bytes(b"")
        (tmp_path / "audio/dev-0.wav").write_text("no audio")
        corpus = check({"ks": {"manifest": own}})["ks"]
        rate, empty, text = corpus["bad_files"]
        assert "8000 Hz" in rate
        assert "is empty. Replace it" in empty
        assert "Convert it to WAV or FLAC" in text
        with pytest.raises(UserError, match=r"8000 Hz .*resample: true in the data file.*And 2 more of 16 files"):
            ks.KS(ks.KS.presets["smoke"]).check(ManifestData(manifest=own))


class TestFolding:
    def test_the_same_fault_is_one_line(self, manifest: Callable[..., Path], tmp_path: Path) -> None:
        def change(rows: list[dict[str, str]]) -> None:
            for number, row in enumerate(rows):
                rate_hz = 22_050 if number < 9 else 8_000
                soundfile.write(tmp_path / row["path"], np.full(8_000 + number, 0.1), rate_hz)
            (tmp_path / rows[0]["path"]).write_bytes(b"")

        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": {"ks": {"manifest": str(manifest(change))}}}))
        done = CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml")])
        lines = [line for line in done.stdout.splitlines() if "bad file" in line]
        assert len(lines) == 4
        assert "8 bad files, e.g. Expected 16 kHz audio. Found 22050 Hz" in lines[0]
        assert "7 bad files, e.g. Expected 16 kHz audio. Found 8000 Hz" in lines[1]
        assert "train-0.wav is empty" in lines[2]
        assert "16 bad files in all" in lines[3]
