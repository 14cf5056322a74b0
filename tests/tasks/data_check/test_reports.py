"""What ``bench data check`` reports: sizes next to the known ones, other tasks, and decoded files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from bench.contracts import SplitSize
from tasks import ks
from tasks.commands import data
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.snips import SNIPSData
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.data_check.known_corpora import known_size
from tests.helpers.data_check import Check, plain


class TestSizes:
    def test_nothing_to_remark(self, check: Check, manifest: Callable[..., Path]) -> None:
        corpus = check({"ks": {"manifest": manifest()}})["ks"]
        assert (corpus["usable"], corpus["errors"], corpus["remarks"], corpus["bad_files"]) == (True, [], [], [])
        assert [(split["split"], split["num_utterances"]) for split in corpus["splits"]] == [
            ("train", 12),
            ("dev", 2),
            ("test", 2),
        ]
        assert corpus["splits"][0]["hours"] == pytest.approx(12 * 0.5 / 3600)

    def test_known_ones_beside_them(self, check: Check, speech_commands: SpeechCommandsData) -> None:
        corpus = check({"ks": speech_commands})["ks"]
        assert [split["known_num_utterances"] for split in corpus["splits"]] == [None, None, 3081]
        assert "8 of 3,081 utterances in test" in corpus["remarks"][0]

    def test_splits_of_a_corpus_are_known_by_what_they_are_made_of(self) -> None:
        entry = LibriSpeechData(root=Path())
        both = pd.DataFrame({"corpus_split": ["test-clean", "test-other"]})
        assert known_size(entry, "test", both) == (2620 + 2939, None)
        assert known_size(entry, "train", both[:1]) == (2620, 5.4)
        assert known_size(entry, "test", pd.DataFrame({"corpus_split": ["test-clean", "mine"]})) is None

    def test_other_speakers_are_no_known_corpus(self) -> None:
        table = pd.DataFrame({"corpus_split": ["valid"]})
        assert known_size(SNIPSData(root=Path()), "dev", table) == (2800, None)
        assert known_size(SNIPSData(root=Path(), dev_speakers=()), "dev", table) is None

    def test_a_table_for_people(self, tmp_path: Path, speech_commands: SpeechCommandsData) -> None:
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": {"ks": plain(speech_commands)}}))
        done = CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml")])
        test_row = next(line for line in done.stdout.splitlines() if "test" in line)
        assert [cell.strip() for cell in test_row.split("│")[1:-1]] == [
            "ks",
            "speech_commands",
            "test",
            "8",
            "3,081",
            "0.00",
            "",
        ]
        assert "\nks: remark: It is not the real corpus" in done.stdout


class TestOtherTasks:
    """Tasks of other packages are known by the contract alone."""

    def test_their_check_is_told(
        self, check: Check, monkeypatch: pytest.MonkeyPatch, speech_commands: SpeechCommandsData
    ) -> None:
        class Other(ks.KS):
            read = None  # type: ignore[assignment]

            def check(self, data: Any) -> dict[str, SplitSize]:
                return {"test": SplitSize(3, 7200.0)}

        monkeypatch.setattr(ks, "KS", Other)
        corpus = check({"ks": speech_commands}, "--full")["ks"]
        assert [(split["split"], split["num_utterances"], split["hours"]) for split in corpus["splits"]] == [
            ("test", 3, 2.0)
        ]
        assert "No file was decoded" in corpus["remarks"][0]

    def test_their_bugs_hide_nothing(
        self,
        check: Check,
        monkeypatch: pytest.MonkeyPatch,
        speech_commands: SpeechCommandsData,
        manifest: Callable[..., Path],
    ) -> None:
        monkeypatch.setattr(ks.KS, "read", lambda _, __: 1 / 0)
        report = check({"ks": speech_commands, "asr": {"manifest": manifest()}})
        assert report["ks"]["errors"] == ["ZeroDivisionError: division by zero"]
        assert report["asr"]["usable"]


class TestFull:
    def test_what_headers_do_not_tell(self, check: Check, manifest: Callable[..., Path], tmp_path: Path) -> None:
        own = manifest()
        speech = 0.1 * np.random.default_rng(0).standard_normal(32_000)
        soundfile.write(tmp_path / "torn.flac", speech, 16_000)
        whole = (tmp_path / "torn.flac").read_bytes()
        (tmp_path / "torn.flac").write_bytes(whole[:20_000] + bytes(2_000) + whole[22_000:])
        soundfile.write(tmp_path / "nan.wav", np.full(8_000, np.nan), 16_000, subtype="FLOAT")
        soundfile.write(tmp_path / "zeros.wav", np.zeros(8_000), 16_000)
        soundfile.write(tmp_path / "clipped.wav", np.clip(10 * speech, -1, 1), 16_000)
        table = pd.read_csv(own)
        table.loc[:3, "path"] = ["torn.flac", "nan.wav", "zeros.wav", "clipped.wav"]
        table.to_csv(own, index=False)
        assert check({"ks": {"manifest": own}})["ks"]["usable"]
        corpus = check({"ks": {"manifest": own}}, "--full")["ks"]
        torn, not_finite = sorted(corpus["bad_files"], key=lambda told: "torn" not in told)
        assert "torn.flac cannot be read" in torn
        assert "NaN or infinity" in not_finite
        assert not corpus["usable"]
        silent, clipped = corpus["remarks"]
        assert silent.startswith("1 of 16 files")
        assert clipped.startswith("1 of 16 files are clipped")

    def test_every_bad_file_is_counted(self, manifest: Callable[..., Path], tmp_path: Path) -> None:
        def change(rows: list[dict[str, str]]) -> None:
            for index in range(25):
                soundfile.write(tmp_path / f"nan{index}.wav", np.full(8_000, np.nan), 16_000, subtype="FLOAT")
                rows.append({**rows[0], "path": f"nan{index}.wav"})

        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": {"ks": {"manifest": str(manifest(change))}}}))
        done = CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml"), "--full"])
        assert done.stdout.count("bad file") == 2
        assert "ks: 25 bad files, e.g. Expected finite samples" in done.stdout
        assert "ks: 25 bad files in all" in done.stdout


@pytest.mark.real_speech
def test_real_speech(check: Check, real_speech: Path) -> None:
    table = {"librispeech": "asr", "speech_commands_v1": "ks", "fluent_speech_commands": "ic", "voxceleb1": "sid"}
    entries = {task: {"root": real_speech / folder} for folder, task in table.items()}
    entries["ks"]["test_root"] = real_speech / "speech_commands_test_set_v1"
    report = check(entries, "--full")
    assert {task: corpus["usable"] for task, corpus in report.items()} == dict.fromkeys(sorted(table.values()), True)
    assert [split["num_utterances"] for split in report["sid"]["splits"]] == [60, 12, 18]
    assert any("6 of 6 speakers" in remark for remark in report["asr"]["remarks"])
    assert not any("share" in remark for corpus in report.values() for remark in corpus["remarks"])
