"""One's own recordings: every task reads a manifest, equals the real layout on the same audio, and tells mistakes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile

from bench import registry
from bench.config.data import task_entry
from bench.contracts import Context, SplitSize, Task
from bench.errors import UserError
from bench.manifest import read_manifest

Write = Callable[..., Path]

LEXICON = "NULL N AH1 L\nTEA T IY1\nTEA T IY0\nTWO T UW1\nYES Y EH1 S\nNA EH1 N EY1\n"
COLUMNS: dict[str, list[dict[str, str]]] = {
    "asr": [{"text": "NULL TEA"}, {"text": "TEA  TWO"}, {"text": "NA"}],
    "pr": [{"text": "Null tea"}, {"text": "TEA  TWO"}, {"text": "NA"}],
    "ks": [{"label": "NULL"}, {"label": "NA"}, {"label": "007"}],
    "sid": [{"speaker": "007"}, {"speaker": "7"}, {"speaker": "nan"}],
    "er": [{"emotion": "calm"}, {"emotion": "None"}, {"emotion": "angry"}],
    "ic": [
        {"action": "on", "object": "lamp", "location": "none"},
        {"action": "off", "object": "lamp", "location": "NA"},
        {"action": "on", "object": "NULL", "location": "NA"},
    ],
    "sf": [
        {"text": "PLAY NULL", "slots": "O song"},
        {"text": "PLAY  NA BY NULL", "slots": "O song  O artist"},
        {"text": "STOP", "slots": "O"},
    ],
}
"""For every task, what three utterances are."""


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


def entry_of(task: str, manifest: Path, **values: Any) -> Any:
    plugin = registry.load("bench.tasks", task)
    lexicon = {"lexicon": manifest.parent / "lexicon.txt"} if task == "pr" else {}
    return task_entry(plugin, {"manifest": manifest, **lexicon, **values}, f"tasks.{task}")


def task_of(name: str, **changes: Any) -> Any:
    plugin = registry.load("bench.tasks", name)
    return plugin(plugin.presets["smoke"].model_copy(update=changes))


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
        assert "signs that no training text has: ! a." in caplog.text

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
            pd.testing.assert_frame_equal(manifest[split][wanted], table[wanted])

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


def change(**values: str) -> Callable[[list[dict[str, str]], Path], None]:
    """Change the last row, of split test."""

    def harm(rows: list[dict[str, str]], _folder: Path) -> None:
        rows[-1].update(values)

    return harm


def rename(column: str, to: str) -> Callable[[list[dict[str, str]], Path], None]:
    def harm(rows: list[dict[str, str]], _folder: Path) -> None:
        for row in rows:
            row[to] = row.pop(column)

    return harm


def leave_out(split: str) -> Callable[[list[dict[str, str]], Path], None]:
    def harm(rows: list[dict[str, str]], _folder: Path) -> None:
        rows[:] = [row for row in rows if row["split"] != split]

    return harm


def one_class(rows: list[dict[str, str]], _folder: Path) -> None:
    for row in rows:
        row["label"] = "yes"


def also_in_training(rows: list[dict[str, str]], _folder: Path) -> None:
    rows[-1]["path"] = f"audio/../{rows[0]['path']}"


def same_name(rows: list[dict[str, str]], folder: Path) -> None:
    path = Path(rows[0]["path"])
    audio, rate_hz = soundfile.read(folder / path)
    soundfile.write(folder / path.with_suffix(".flac"), audio, rate_hz)
    rows[1]["path"] = path.with_suffix(".flac").as_posix()


def other_rate(_rows: list[dict[str, str]], folder: Path) -> None:
    soundfile.write(folder / "audio/train/0-0.wav", [0.0] * 800, 8_000)


def no_audio(_rows: list[dict[str, str]], folder: Path) -> None:
    (folder / "audio/train/0-0.wav").write_text("no audio at all")


def gone(_rows: list[dict[str, str]], folder: Path) -> None:
    for path in (folder / "audio/dev").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("task", "harm", "told"),
    [
        ("ks", rename("label", "lable"), "Found no column `label`. Did you mean 'lable'"),
        ("sid", rename("speaker", "who"), "Found no column `speaker`. Known: microphone, path, split, who"),
        ("ks", rename("split", " split"), "Did you mean ' split'.*Remove the spaces around the signs"),
        ("ks", change(split="valid"), "Expected train, dev or test as split in .*Found 'valid' at audio/test/0-2"),
        ("ks", leave_out("dev"), "Found none of dev. Mark a tenth of the training rows as dev"),
        ("ks", leave_out("train"), "Found none of train"),
        ("ks", leave_out("test"), "Found none of test"),
        ("ks", change(path="audio/none.wav"), r"Found no .*audio/none.wav \(1 of 12 missing\)"),
        ("ks", gone, r"audio/dev/0-0.wav \(3 of 12 missing\)"),
        *(
            ("ks", change(path=path), "Did you mean 'audio/test/0-2.wav'")
            for path in (
                "/audio/test/0-2.wav",
                "own/audio/test/0-2.wav",
                "/home/ana/own/audio/test/0-2.wav",
                "~/own/audio/test/0-2.wav",
                "audio\\test\\0-2.wav",
            )
        ),
        ("ks", change(path="audio/test/0-2"), "Did you mean '0-2.wav'"),
        ("ks", change(split="Validation "), "Found 'Validation ' at audio/test/0-2.wav .*Write dev instead"),
        ("ks", change(split="TEST"), "Write test instead"),
        ("ks", rename("path", "file"), "Found no column `path`. Known: file, .*Add it, or rename one"),
        ("ks", change(path=""), r"Expected a value of path in every row .*none in row 12"),
        (
            "ks",
            also_in_training,
            r"every audio file once.*audio/train/0-0.wav and audio/../audio/train/0-0.wav \(in train and test",
        ),
        ("ks", same_name, "every id once in .*audio/train/0-0.wav and audio/train/0-0.flac .*ids of their own"),
        (
            "ks",
            change(label=" "),
            r"Expected a value of label in every row .* the row of audio/test/0-2.wav \(1 in all",
        ),
        ("asr", change(text=""), "Expected a value of text"),
        (
            "ks",
            change(label="maybe"),
            "Expected every label of test in train too.*Found 'maybe' in test and not in train",
        ),
        ("er", change(emotion="Calm"), "Expected one spelling of every emotion.*Found 'calm' and 'Calm'"),
        ("sid", change(speaker="nan "), "Found 'nan' and 'nan ', which differ in case or surrounding space only"),
        ("ks", one_class, "Expected at least two values of label .*Found 'yes' alone"),
        ("ic", change(location="garden"), "Expected every location of test in train too"),
        ("ic", change(action="on; off"), "Expected action without a semicolon"),
        ("sf", change(slots="O O"), "Found 1 words and 2 slots at audio/test/0-2.wav"),
        ("sf", change(slots="verb"), "Expected every slot of test in train too"),
        ("sf", change(slots="B-song"), "Expected bare names of slots .*Found 'B-song'"),
        ("sf", change(text="STOP:"), "without colon and semicolon"),
        (
            "pr",
            change(text="YES, TEA"),
            "Expected a pronunciation of every word in .*lexicon.txt. Found none of YES,. ",
        ),
        ("ks", other_rate, "Expected 16 kHz audio. Found 8000 Hz in .*0-0.wav"),
        ("ks", no_audio, "0-0.wav cannot be read"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_training(
    task: str,
    harm: Callable[[list[dict[str, str]], Path], None],
    told: str,
    rows_of: Callable[..., Any],
    write_manifest: Write,
    tmp_path: Path,
) -> None:
    rows = rows_of(task)
    task_of(task).check(entry_of(task, write_manifest(rows)))
    harm(rows, tmp_path)
    with pytest.raises(UserError, match=told) as caught:
        task_of(task).check(entry_of(task, write_manifest(rows)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("own.xlsx", "", "Expected a manifest with the suffix .csv, .tsv or .jsonl"),
        ("own.csv", "", "cannot be read: No columns.* Write the columns' names"),
        ("own.csv", "path,split,label\na.wav,train,yes,no\n", "rows have more than the header's 3 columns"),
        ("own.csv", "path,split,label\na.wav,train,yes\nb.wav,train,yes,no\n", "Expected 3 fields in line 3, saw 4"),
        ("own.csv", "path;split;label\na.wav;train;yes\n", "its columns are parted by ';'; save it with ','"),
        ("own.csv", "path\tsplit\tlabel\na.wav\ttrain\tyes\n", r"its columns are parted by '\\t'; name it .tsv\.$"),
        ("own.tsv", "path,split,label\na.wav,train,yes\n", "its columns are parted by ','; name it .csv"),
        ("own.csv", "path,split,label,label\na.wav,train,yes,no\n", "two columns are called 'label'; rename one"),
        ("own.csv", 'path,split,label\na.wav,train,"yes\n', "EOF inside string.*stands in double quotes"),
        ("own.csv", "a.wav,train,yes\nb.wav,dev,yes\n", "The first row must name the columns"),
        ("own.csv", "path,split,label\n", "Found none of train"),
        ("own.jsonl", '{"path": "a.wav"\n', "line 1: "),
        ("own.jsonl", '{"path": "a.wav"}\n["b.wav"]\n', "line 2 is no object"),
        ("own.jsonl", '{"path": "a.wav"}\n', "Found no column `split`"),
    ],
)
def test_a_file_that_is_no_manifest_is_told(name: str, content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=told) as caught:
        task_of("ks").check(entry_of("ks", tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("intent", "a list of columns of the manifest. Write e.g. intent_columns: [intent] (found 'intent')."),
        ([], "a list of columns of the manifest. Write e.g. intent_columns: [intent] (found [])."),
        ([1], "a list of columns of the manifest. Write e.g. intent_columns: [intent] (found [1])."),
        (["intent", "intent"], "every column once. Name each one time (found ['intent', 'intent'])."),
    ],
)
def test_intent_columns_that_are_no_list_are_told(columns: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        entry_of("ic", tmp_path / "own.csv", intent_columns=columns)
    assert str(caught.value) == f"In the settings of tasks.ic: intent_columns: expected {told}"


def test_text_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes("path,split,label\na.wav,train,café\n".encode("latin-1"))
    with pytest.raises(UserError, match="Expected CSV in UTF-8"):
        task_of("ks").check(entry_of("ks", tmp_path / "own.csv"))


def test_other_rates_are_resampled_on_request(
    rows_of: Callable[..., Any], write_manifest: Write, tmp_path: Path
) -> None:
    rows = rows_of("ks")
    other_rate(rows, tmp_path)
    splits = task_of("ks").read(entry_of("ks", write_manifest(rows), resample=True))
    assert splits["train"]["num_samples"].iloc[0] == 1_600
