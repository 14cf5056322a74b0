"""Fluent Speech Commands is read as s3prl's recipe reads it, and refused in one line where it is unusable."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.corpora.fluent_speech_commands import FluentSpeechCommandsData, read_fluent_speech_commands
from tasks.ic import IC

HEADER = ("", "path", "speakerId", "transcription", "action", "object", "location")
COMMANDS = (
    ("Turn the lights on, please", "activate", "lights", "none"),
    ('Say "hello"', "NULL", "NA", "washroom"),
    ("Bring me my shoes", "bring", "shoes", "none"),
)
NAMES = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}


def write_table(file: Path, rows: list[tuple[object, ...]], header: tuple[str, ...] = HEADER) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([header, *rows])


@pytest.fixture
def commands(tmp_path: Path, write_tone: Callable[..., None]) -> FluentSpeechCommandsData:
    """Three commands a split, in another order than the files' names; one speaker looks like a number."""
    root = tmp_path / "fluent_speech_commands_dataset"
    for number, name in enumerate(NAMES.values()):
        rows = []
        for index, (words, *slots) in enumerate(COMMANDS):
            speaker = ("007", "2BqVo8kVB2Skwgyb", "nan")[number]
            path = f"wavs/speakers/{speaker}/{number}{9 - index}-4474-11e9.wav"
            write_tone(root / path, 0.2 + 0.05 * index, 200.0)
            rows.append((index, path, speaker, words, *slots))
        write_table(root / "data" / name, rows)
    return FluentSpeechCommandsData(root=root)


class TestCorpus:
    def test_equals_what_s3prl_writes(
        self, commands: FluentSpeechCommandsData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = s3prl_compat.recipe_class("s3prl.problem.common.superb_ic", "SuperbIC")
        from s3prl.dataio.corpus import fluent_speech_commands

        monkeypatch.setattr(pd.Series, "iteritems", pd.Series.items, raising=False)
        monkeypatch.setattr(fluent_speech_commands, "pd", SimpleNamespace(read_csv=s3prl_compat.read_csv))
        recipe().prepare_data({"dataset_root": str(commands.root)}, str(tmp_path), str(tmp_path))
        ours = read_fluent_speech_commands(commands)
        for split, name in {"train": "train", "dev": "valid", "test": "test"}.items():
            theirs = s3prl_compat.read_csv(tmp_path / f"{name}.csv")
            pd.testing.assert_frame_equal(ours[split][list(theirs.columns)], theirs, check_dtype=False)

    def test_every_value_is_the_text_it_is(self, commands: FluentSpeechCommandsData) -> None:
        tables = read_fluent_speech_commands(commands)
        assert [set(table["speaker"]) for table in tables.values()] == [{"007"}, {"2BqVo8kVB2Skwgyb"}, {"nan"}]
        second = tables["train"].iloc[1].drop("wav_path")
        assert second.to_dict() == {
            "id": "08-4474-11e9",
            "num_samples": 4000,
            "labels": "NULL ; NA ; washroom",
            "speaker": "007",
            "transcription": 'Say "hello"',
            "action": "NULL",
            "object": "NA",
            "location": "washroom",
        }

    def test_tables_without_an_index_column_do(self, commands: FluentSpeechCommandsData) -> None:
        expected = read_fluent_speech_commands(commands)
        for name in NAMES.values():
            file = commands.root / "data" / name
            with file.open(newline="", encoding="utf-8") as opened:
                _, *rows = csv.reader(opened)
            write_table(file, [tuple(row[1:]) for row in rows], HEADER[1:])
        found = read_fluent_speech_commands(commands)
        for split, table in expected.items():
            pd.testing.assert_frame_equal(found[split], table)


def remove_table(root: Path) -> None:
    (root / "data" / "valid_data.csv").unlink()


def remove_audio(root: Path) -> None:
    next((root / "wavs").rglob("*.wav")).unlink()


def remove_column(root: Path) -> None:
    write_table(root / "data" / "train_data.csv", [(0, "a.wav", "x", "Go", "a", "b")], HEADER[:-1])


def empty_slot(root: Path) -> None:
    write_table(root / "data" / "train_data.csv", [(0, "a.wav", "x", "Go", "a", " ", "c")])


def short_line(root: Path) -> None:
    write_table(root / "data" / "train_data.csv", [(0, "a.wav", "x", "Go", "a", "b")])


def semicolon(root: Path) -> None:
    write_table(root / "data" / "train_data.csv", [(0, "a.wav", "x", "Go", "a", "b;c", "d")])


def no_lines(root: Path) -> None:
    write_table(root / "data" / "test_data.csv", [])


def one_stem_in_two_splits(root: Path) -> None:
    (root / "data" / "test_data.csv").write_text((root / "data" / "train_data.csv").read_text())


def other_encoding(root: Path) -> None:
    (root / "data" / "test_data.csv").write_bytes("é".encode("latin-1"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove_table, r"no .*valid_data\.csv"),
        (remove_audio, r"\.wav is missing"),
        (remove_column, "Found no location"),
        (empty_slot, r"Expected a value of object in line 2 of .*train_data\.csv"),
        (short_line, "Found 6 in line 2"),
        (semicolon, "semicolon.*object"),
        (no_lines, "header alone"),
        (one_stem_in_two_splits, r"09-4474-11e9 in train_data\.csv and again in test_data\.csv"),
        (other_encoding, "Expected UTF-8"),
    ],
)
def test_an_unusable_corpus_is_refused_in_one_line(
    commands: FluentSpeechCommandsData, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(commands.root)
    with pytest.raises(UserError, match=told) as refusal:
        read_fluent_speech_commands(commands)
    assert "\n" not in str(refusal.value)


def test_another_rate_is_refused_or_resampled(
    commands: FluentSpeechCommandsData, write_tone: Callable[..., None]
) -> None:
    path = next((commands.root / "wavs" / "speakers" / "007").iterdir())
    write_tone(path, 0.5, 200.0, 8000)
    with pytest.raises(UserError, match="Found 8000 Hz"):
        read_fluent_speech_commands(commands)
    table = read_fluent_speech_commands(commands.model_copy(update={"resample": True}))["train"]
    assert table.set_index("id")["num_samples"][path.stem] == 8000


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("Washroom", "Expected one spelling of every location in .*Found 'Washroom' and 'washroom'"),
        ("kitchen", "Expected every location of test in train too, in .*Found 'washroom' in test"),
    ],
)
def test_intents_that_cannot_be_learned_are_told(commands: FluentSpeechCommandsData, other: str, told: str) -> None:
    task = IC(IC.presets["paper"])
    task.check(commands)
    table = commands.root / "data" / NAMES["train"]
    table.write_text(table.read_text(encoding="utf-8").replace("washroom", other), encoding="utf-8")
    with pytest.raises(UserError, match=told):
        task.check(commands)
