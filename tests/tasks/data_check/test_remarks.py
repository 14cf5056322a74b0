"""Remarks of ``bench data check`` on data that look wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.speech_commands import SpeechCommandsData, read_speech_commands
from tasks.data_check import remarks as remarks_module
from tasks.data_check.duplicates import shared_recordings
from tests.helpers.data_check import Check, only_remark


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
        training = {"root": librispeech.root}
        remark = check({"asr": librispeech}, audio=training)["audio"]["remarks"][0]
        assert remark.startswith("Compression trains on 6 test recordings of asr")
        assert check({"asr": librispeech}, audio={"layout": "librispeech", **training})["audio"]["remarks"] == []


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
