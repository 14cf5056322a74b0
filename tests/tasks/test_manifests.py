"""One's own recordings: every task reads a manifest, and equals the real layout on the same audio."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile

from bench import registry
from bench.audio.manifest import read_manifest
from bench.config.data import task_entry
from bench.contracts import Context, SplitSize, Task
from tests.helpers.manifests import COLUMNS, Write, entry_of, task_of


class TestReading:
    @pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
    @pytest.mark.parametrize("task", COLUMNS)
    def test_words_stay_what_they_are(
        self, task: str, suffix: str, rows_of: Callable[..., Any], write_manifest: Write, tmp_path: Path
    ) -> None:
        manifest = write_manifest(rows_of(task), f"own.{suffix}")
        splits = task_of(task).read(entry_of(task, manifest))
        assert {split: len(table) for split, table in splits.items()} == {"train": 6, "dev": 3, "test": 3}
        test = splits["test"]
        assert test["id"].tolist() == ["audio/test/0-0", "audio/test/0-1", "audio/test/0-2"]
        assert test["wav_path"].tolist() == [str(tmp_path / f"{name}.wav") for name in test["id"]]
        assert test["num_samples"].tolist() == [9_600, 10_400, 11_200]
        assert test["microphone"].tolist() == ["m0", "m1", "m2"]
        expected = {
            "asr": ("transcription", ["NULL TEA", "TEA TWO", "NA"]),
            "pr": ("transcription", ["N AH1 L T IY1", "T IY1 T UW1", "EH1 N EY1"]),
            "ks": ("label", ["NULL", "NA", "007"]),
            "sid": ("label", ["007", "7", "nan"]),
            "er": ("label", ["calm", "None", "angry"]),
            "ic": ("labels", ["on ; lamp ; none", "off ; lamp ; NA", "on ; NULL ; NA"]),
            "sf": ("iob", ["O song", "O song O artist", "O"]),
        }
        column, values = expected[task]
        assert test[column].tolist() == values

    def test_json_has_numbers_lists_and_gaps(self, rows_of: Callable[..., Any], write_manifest: Write) -> None:
        rows = [
            {**row, "text": row["text"].split(), "slots": row["slots"].split(), "take": 1.50} for row in rows_of("sf")
        ]
        del rows[-1]["microphone"]
        test = task_of("sf").read(entry_of("sf", write_manifest(rows, "own.jsonl")))["test"]
        assert test["iob"].tolist() == ["O song", "O song O artist", "O"]
        assert test["transcription"].tolist() == ["PLAY NULL", "PLAY NA BY NULL", "STOP"]
        assert test["take"].tolist() == ["1.5"] * 3
        assert test["microphone"].tolist() == ["m0", "m1", ""]

    def test_json_numbers_are_the_text_they_are_written_as(self, tmp_path: Path) -> None:
        (tmp_path / "own.jsonl").write_text('{"path": "a.wav", "speaker": 12345678901234567890, "take": 1.50}\n')
        assert read_manifest(tmp_path / "own.jsonl", ("path",)).iloc[0].to_dict() == {
            "path": "a.wav",
            "speaker": "12345678901234567890",
            "take": "1.50",
        }

    def test_ids_may_be_given(self, rows_of: Callable[..., Any], write_manifest: Write) -> None:
        rows = [{**row, "id": f"{99 - index:03d}"} for index, row in enumerate(rows_of("ks"))]
        assert task_of("ks").read(entry_of("ks", write_manifest(rows)))["dev"]["id"].tolist() == ["091", "092", "093"]

    def test_other_columns_may_be_the_intent(self, rows_of: Callable[..., Any], write_manifest: Write) -> None:
        rows = [{**row, "wish": row["object"]} for row in rows_of("ic")]
        data = entry_of("ic", write_manifest(rows), intent_columns=["wish"])
        assert task_of("ic").read(data)["dev"]["labels"].tolist() == ["lamp", "lamp", "NULL"]

    def test_signs_that_training_never_sees_are_told(
        self, rows_of: Callable[..., Any], write_manifest: Write, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = rows_of("asr")
        rows[-1]["text"] = "Na!"
        with caplog.at_level(logging.WARNING):
            task_of("asr").check(entry_of("asr", write_manifest(rows)))
        assert ": ! a." in caplog.text

    def test_sizes_are_told(self, rows_of: Callable[..., Any], write_manifest: Write) -> None:
        sizes = task_of("er").check(entry_of("er", write_manifest(rows_of("er"))))
        assert sizes["train"] == SplitSize(num_utterances=6, duration_s=pytest.approx(3.9))
        assert sizes["test"] == SplitSize(num_utterances=3, duration_s=pytest.approx(1.95))


@pytest.mark.parametrize("task", COLUMNS)
def test_every_task_is_trained_and_scored(
    task: str, rows_of: Callable[..., Any], write_manifest: Write, upstream: Any, tmp_path: Path
) -> None:
    """Evaluating more rarely than the training is long, where s3prl by itself dies once it is over."""
    rows = rows_of(task)
    for row in rows:
        row["reference"] = row["duration_s"] = "mine"
    one: Task = task_of(task, total_steps=2, batch_size=2, eval_interval_steps=1_000, save_interval_steps=1_000)
    done = one.evaluate(upstream, entry_of(task, write_manifest(rows)), tmp_path / "work", Context())
    assert set(done.scores) == {"dev", "test"}
    assert set(done.scores["test"]) == {metric.name for metric in one.metrics}
    assert len(done.predictions) == 6
    for row in done.predictions:
        assert row["microphone"] == f"m{row['id'][-1]}"
        assert row["path"] == f"{row['id']}.wav"
        assert row["duration_s"] == pytest.approx(0.6 + 0.05 * int(row["id"][-1]))
        assert row["reference"] != "mine"


@pytest.mark.parametrize("task", ["ks", "ic", "asr"])
def test_protocol_s3prl_takes_manifests_too(
    task: str, rows_of: Callable[..., Any], write_manifest: Write, upstream: Any, tmp_path: Path
) -> None:
    one = task_of(task, total_steps=1, batch_size=2, eval_interval_steps=1_000)
    entry = entry_of(task, write_manifest(rows_of(task)))
    done = one.evaluate(upstream, entry, tmp_path / "work", Context(protocol="s3prl"))
    assert len(done.predictions) == 6


class TestRealSpeech:
    """People's digits, listed in manifests."""

    @pytest.mark.real_speech
    @pytest.mark.parametrize(
        ("task", "entry", "columns"),
        [
            ("asr", {"root": "librispeech"}, {"text": "transcription"}),
            ("sid", {"root": "voxceleb1"}, {"speaker": "speaker"}),
            (
                "ic",
                {"root": "fluent_speech_commands"},
                {"action": "action", "object": "object", "location": "location"},
            ),
            (
                "sf",
                {"root": "snips", **{f"{split}_speakers": [] for split in ("train", "dev", "test")}},
                {"text": "transcription", "slots": "iob"},
            ),
        ],
    )
    def test_a_manifest_is_the_layout_on_the_same_audio(
        self,
        task: str,
        entry: dict[str, Any],
        columns: dict[str, str],
        real_speech: Path,
        write_manifest: Write,
    ) -> None:
        plugin = registry.load("bench.tasks", task)
        layout = task_of(task).read(task_entry(plugin, {**entry, "root": real_speech / entry["root"]}, task))
        rows = [
            {
                "path": row["wav_path"],
                "split": split,
                "id": row["id"],
                **{own: row[theirs] for own, theirs in columns.items()},
            }
            for split, table in layout.items()
            for row in table.to_dict("records")
        ]
        manifest = task_of(task).read(entry_of(task, write_manifest(rows[::-1])))
        read = {"asr": ["transcription"], "sid": ["speaker"], "ic": ["labels"], "sf": ["transcription", "iob"]}[task]
        for split, table in layout.items():
            wanted = ["id", "wav_path", "num_samples", *read]
            pd.testing.assert_frame_equal(manifest[split][wanted], table[wanted], check_dtype=False)

    @pytest.mark.real_speech
    @pytest.mark.slow
    def test_own_keywords_of_speakers_never_heard(
        self, real_speech: Path, write_manifest: Write, log_mel: Any, tmp_path: Path
    ) -> None:
        """All ten digits, two speakers left out for test and one for dev: well above chance, a tenth."""
        splits = {"theo": "test", "yweweler": "test", "nicolas": "dev"}
        clips = [
            (clip, folder.name)
            for folder in sorted((real_speech / "speech_commands_v1").iterdir())
            if folder.is_dir() and not folder.name.startswith("_")
            for clip in sorted(folder.glob("*.wav"))
        ]
        speakers = ["george", "jackson", "lucas", *splits]
        rows = [
            {
                "path": str(clip),
                "split": splits.get(speaker, "train"),
                "label": word,
                "speaker": speaker,
            }
            for clip, word in clips
            for speaker in speakers
            if clip.name.startswith(speaker)
        ]
        assert len({row["label"] for row in rows}) == 10
        data = entry_of("ks", write_manifest(rows))
        task = task_of(
            "ks",
            total_steps=200,
            eval_interval_steps=50,
            learning_rate=3e-3,
            max_train_utterances=None,
            max_eval_utterances=None,
        )
        assert set(task.check(data)) == {"train", "dev", "test"}
        done = task.evaluate(log_mel, data, tmp_path / "work", Context())
        tested = [row for row in done.predictions if row["split"] == "test"]
        assert {row["speaker"] for row in tested} == {"theo", "yweweler"}
        assert len({row["reference"] for row in tested}) == 10
        assert done.scores["test"]["accuracy"] > 0.15


def test_other_rates_are_resampled_on_request(
    rows_of: Callable[..., Any], write_manifest: Write, tmp_path: Path
) -> None:
    rows = rows_of("ks")
    soundfile.write(tmp_path / "audio/train/0-0.wav", [0.0] * 800, 8_000)
    splits = task_of("ks").read(entry_of("ks", write_manifest(rows), resample=True))
    assert splits["train"]["num_samples"].iloc[0] == 1_600
