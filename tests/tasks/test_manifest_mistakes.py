"""One's own recordings: mistakes in a manifest are told in one line, before any training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from bench.errors import UserError
from tests.helpers.manifests import Write, entry_of, task_of


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
        ("ks", one_class, "Expected at least two values of label .*Found 'yes'"),
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
        ("own.csv", "", "the columns' names in line 1 of .*own.csv. Found an empty file"),
        ("own.csv", "path,split,label\na.wav,train,yes,no\n", "Expected 3 columns .*Found 4 in line 2 of .*own.csv"),
        (
            "own.csv",
            "path,split,label\na.wav,train,yes\nb.wav,train,yes,no\n",
            "Expected 3 columns .*Found 4 in line 3 of .*own.csv",
        ),
        ("own.csv", "path;split;label\na.wav;train;yes\n", "Found ';'. Save it with ','"),
        ("own.csv", "path\tsplit\tlabel\na.wav\ttrain\tyes\n", r"Found '\\t'. Name the file .tsv\.$"),
        ("own.tsv", "path,split,label\na.wav,train,yes\n", "Found ','. Name the file .csv"),
        ("own.csv", "path,split,label,label\na.wav,train,yes,no\n", "Found two called 'label'. Rename one"),
        (
            "own.csv",
            'path,split,label\na.wav,train,"yes\n',
            "quote that never closes in the row that begins in line 2 of .*own.csv",
        ),
        ("own.csv", "a.wav,train,yes\nb.wav,dev,yes\n", "The first row must name the columns"),
        ("own.csv", "path,split,label\n", "Found none of train"),
        ("own.jsonl", '{"path": "a.wav"\n', "line 1 of .*own.jsonl"),
        ("own.jsonl", '{"path": "a.wav"}\n["b.wav"]\n', "object in line 2 of .*own.jsonl. Found a list"),
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
    with pytest.raises(UserError, match="Expected UTF-8 in line 2"):
        task_of("ks").check(entry_of("ks", tmp_path / "own.csv"))
