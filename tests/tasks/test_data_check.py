"""``bench data check``: sizes beside the known ones, every corpus by itself, and each remark where it is due."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from bench.contracts import SplitSize
from bench.errors import UserError
from tasks import ks
from tasks.commands import data
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.own_data import ManifestData
from tasks.corpora.snips import SNIPSData
from tasks.corpora.speech_commands import SpeechCommandsData, read_speech_commands
from tasks.data_check import remarks as remarks_module
from tasks.data_check.duplicates import shared_recordings
from tasks.data_check.known_corpora import known_size
from tests.helpers.command_line import bench

Check = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def two_are_enough_for_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the corpora of these tests a remark."""
    monkeypatch.setattr(remarks_module, "FEW_IN_DEV", 2)


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check a data file of these entries; return what is told of each corpus, and the exit code."""

    def run(entries: Mapping[str, Any], *options: str, audio: Mapping[str, Any] | None = None) -> dict[str, Any]:
        content: dict[str, Any] = {"tasks": {task: _plain(entry) for task, entry in entries.items()}}
        if audio:
            content["audio"] = _plain(audio)
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        done = CliRunner().invoke(
            data, ["check", str(tmp_path / "mine.yaml"), "--json", *options], standalone_mode=False
        )
        if done.exception:
            raise done.exception
        report = json.loads(done.stdout)
        assert report["usable"] == all(corpus["usable"] for corpus in report["corpora"])
        assert done.return_value == (0 if report["usable"] else 1)
        return {corpus["name"]: corpus for corpus in report["corpora"]}

    return run


def _plain(entry: Any) -> dict[str, Any]:
    values = dict(entry) if isinstance(entry, Mapping) else entry.model_dump(exclude_defaults=True)
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


@pytest.fixture
def manifest(tmp_path: Path, write_tone: Callable[..., None]) -> Callable[..., Path]:
    """Write a manifest of tones: six utterances of two classes in train, two in dev and test, all different."""

    def write(change: Callable[[list[dict[str, str]]], None] = lambda _: None, name: str = "own.csv") -> Path:
        rows: list[dict[str, str]] = []
        for split, count in (("train", 12), ("dev", 2), ("test", 2)):
            for index in range(count):
                path = f"audio/{split}-{index}.wav"
                write_tone(tmp_path / path, 0.5, 100.0 * (len(rows) + 1))
                text = ("YES", "NO")[index % 2]
                rows.append({"path": path, "split": split, "label": text, "text": text, "speaker": f"{split}{index}"})
        change(rows)
        pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write


def only_remark(report: Mapping[str, Any], task: str) -> str:
    assert report[task]["usable"]
    assert len(report[task]["remarks"]) == 1, report[task]["remarks"]
    return str(report[task]["remarks"][0])


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
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": {"ks": _plain(speech_commands)}}))
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


class TestRemarks:
    def test_the_same_recording_in_two_splits(
        self, check: Check, manifest: Callable[..., Path], tmp_path: Path
    ) -> None:
        own = manifest()
        shutil.copy(tmp_path / "audio/train-3.wav", tmp_path / "audio/test-1.wav")
        remark = only_remark(check({"ks": {"manifest": own}}), "ks")
        assert remark.startswith("train and test share 1 recording, such as ")
        assert "train-3.wav" in remark
        assert "test-1.wav" in remark

    def test_recordings_that_differ_in_a_sample_are_two(
        self, check: Check, manifest: Callable[..., Path], tmp_path: Path
    ) -> None:
        own = manifest()
        samples, rate = soundfile.read(tmp_path / "audio/train-3.wav", dtype="int16")
        samples[-1] += 1
        soundfile.write(tmp_path / "audio/test-1.wav", samples, rate)
        assert check({"ks": {"manifest": own}})["ks"]["remarks"] == []

    def test_noise_that_the_recipe_shares_is_no_overlap(self, speech_commands: SpeechCommandsData) -> None:
        shared = shared_recordings(read_speech_commands(speech_commands))
        folders = {path.parent.name for pairs in shared.values() for pair in pairs for path in pair}
        # The fixture's tones are the same in train and dev.
        assert folders == {"yes", "NULL", "tree", "_unknown_"}

    def test_the_same_speaker_in_train_and_test(self, check: Check, manifest: Callable[..., Path]) -> None:
        own = manifest(lambda rows: rows[-1].update(speaker="train3"))
        remark = only_remark(check({"ks": {"manifest": own}}), "ks")
        assert remark.startswith("1 of 2 speakers of test is in train too (train3)")

    def test_speakers_are_the_same_where_they_are_the_classes(
        self, check: Check, manifest: Callable[..., Path]
    ) -> None:
        own = manifest(lambda rows: [row.update(speaker=row["label"]) for row in rows])
        assert check({"sid": {"manifest": own}})["sid"]["remarks"] == []

    def test_sessions_are_compared_with_each_other(self, tmp_path: Path) -> None:
        from tasks.data_check.remarks import same_speakers

        tables = {f"session{number}": pd.DataFrame({"speaker": [f"{number}F", "5M"]}) for number in (1, 2)}
        assert [remark[:47] for remark in same_speakers(tables)] == ["1 of 2 speakers of session2 is in session1 too "]

    def test_lengths(
        self, check: Check, manifest: Callable[..., Path], tmp_path: Path, write_tone: Callable[..., None]
    ) -> None:
        own = manifest()
        write_tone(tmp_path / "audio/dev-0.wav", 0.02, 200.0)
        write_tone(tmp_path / "audio/test-0.wav", 31.0, 200.0)
        short, long = check({"ks": {"manifest": own}})["ks"]["remarks"]
        assert short.startswith("1 utterance of dev shorter than one frame (25 ms): audio/dev-0.")
        assert long.startswith("1 utterance of test longer than 30 s, up to 31 s")

    def test_rare_classes_and_those_not_tested(self, check: Check, manifest: Callable[..., Path]) -> None:
        def change(rows: list[dict[str, str]]) -> None:
            rows[0]["label"] = "MAYBE"

        rare, untested_in_dev, untested_in_test = check({"ks": {"manifest": manifest(change)}})["ks"]["remarks"]
        assert rare.startswith("1 class with fewer than 5 utterances in train: MAYBE.")
        assert untested_in_dev.startswith("1 class of 3 without an utterance in dev: MAYBE.")
        assert untested_in_test.startswith("1 class of 3 without an utterance in test: MAYBE.")

    def test_case_of_texts(self, check: Check, librispeech: LibriSpeechData) -> None:
        file = next((librispeech.root / "test-clean").rglob("*.trans.txt"))
        names = [line.split(" ")[0] for line in file.read_text().splitlines()]
        file.write_text("".join(f"{name} cab\n" for name in names))
        remarks = check({"asr": librispeech})["asr"]["remarks"]
        assert any("test" in remark and ": a b c." in remark and "in one case" in remark for remark in remarks)

    def test_what_a_reader_warns_of(self, check: Check, manifest: Callable[..., Path]) -> None:
        own = manifest(lambda rows: rows[-1].update(text="No!"))
        assert ": ! o." in only_remark(check({"asr": {"manifest": own}}), "asr")

    def test_words_that_s3prl_loses(
        self, check: Check, speech_commands: SpeechCommandsData, librispeech: LibriSpeechData
    ) -> None:
        report = check({"ks": speech_commands, "asr": librispeech})
        (asr,) = [remark for remark in report["asr"]["remarks"] if "missing values" in remark]
        (ks_remark,) = [remark for remark in report["ks"]["remarks"] if "missing values" in remark]
        assert ": NA, NULL." in asr
        assert ": NULL." in ks_remark

    def test_transcripts_without_end(self, check: Check, librispeech: LibriSpeechData) -> None:
        def told() -> list[str]:
            remarks: list[str] = check({"asr": librispeech})["asr"]["remarks"]
            return [remark for remark in remarks if "newline" in remark]

        assert told()[0].startswith("3 transcripts without a newline at the end")
        for file in librispeech.root.rglob("*.trans.txt"):
            file.write_text(file.read_text() + "\n")
        assert told() == []

    def test_compression_trains_on_test_recordings(self, check: Check, librispeech: LibriSpeechData) -> None:
        heard = {"root": librispeech.root}
        remark = check({"asr": librispeech}, audio=heard)["audio"]["remarks"][0]
        assert remark.startswith("Compression trains on 6 test recordings of asr")
        assert check({"asr": librispeech}, audio={"layout": "librispeech", **heard})["audio"]["remarks"] == []


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


class TestSmallDevAndLongTexts:
    def test_small_dev(self, check: Check, manifest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remarks_module, "FEW_IN_DEV", 3)
        assert "2 utterances in dev" in only_remark(check({"ks": {"manifest": manifest()}}), "ks")

    def test_texts_that_ctc_cannot_align(self, check: Check, manifest: Callable[..., Path]) -> None:
        def change(rows: list[dict[str, str]]) -> None:
            # Half a second has 24 frames: the first text just fits, the second repeats a letter.
            rows[0]["text"] = "YES NO" * 4
            rows[2]["text"] = "YES NO" * 3 + "YES NN"

        remark = only_remark(check({"asr": {"manifest": manifest(change)}}), "asr")
        assert remark.startswith("1 transcript of train too long for the audio: audio/train-2")


class TestLeftOut:
    def test_audio_that_compression_does_not_read(self, check: Check, manifest: Callable[..., Path]) -> None:
        folder = manifest().parent / "audio"
        (folder / "more.m4a").write_bytes(b"")
        (folder / "._train-0.wav").write_bytes(b"")
        corpus = check({}, audio={"root": folder})["audio"]
        assert corpus["splits"][0]["num_utterances"] == 16
        assert "more.m4a" in corpus["remarks"][0]

    def test_a_manifest_is_a_layout(self, check: Check, manifest: Callable[..., Path]) -> None:
        corpus = check({}, audio={"manifest": manifest()})["audio"]
        assert corpus["layout"] == "manifest"
        assert corpus["splits"][0]["num_utterances"] == 12


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
