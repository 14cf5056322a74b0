"""`--data`: what a YAML file resolves to, and what is wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench import registry
from bench.config.data import describe_data
from bench.errors import UserError
from bench.runs.checks import prepare_data

TASKS = {"ks": registry.load("bench.tasks", "ks")}

YAML = """
audio: {layout: folder, root: speech}
tasks:
  ks: {layout: speech_commands, root: commands, test_root: ../commands_test}
"""


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "corpora" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(YAML)
    return path


def test_paths_are_relative_to_the_file(data_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    data = describe_data("corpora/mine.yaml", {}, TASKS)
    assert data.name == "mine"
    assert data.audio is not None
    assert data.audio.root == tmp_path / "corpora" / "speech"
    assert data.tasks["ks"]["test_root"] == str(tmp_path / "commands_test")


def test_resample_reaches_audio_and_tasks(data_file: Path) -> None:
    data = describe_data(str(data_file), {"resample": True}, TASKS)
    assert data.audio is not None
    assert data.audio.resample
    assert data.tasks["ks"]["resample"] is True


def test_hours_reach_the_audio(data_file: Path) -> None:
    limited = describe_data(str(data_file), {"hours": 2, "audio.hours_seed": 5}, {})
    assert limited.audio is not None
    assert (limited.audio.hours, limited.audio.hours_seed) == (2.0, 5)
    of_its_own = describe_data(str(data_file), {"audio.hours": 3}, {})
    assert of_its_own.audio is not None
    assert of_its_own.audio.hours == 3.0
    with pytest.raises(UserError, match=r"hours: .*greater than 0"):
        describe_data(str(data_file), {"hours": 0}, {})


def test_overrides_reach_a_task(data_file: Path) -> None:
    data = describe_data(str(data_file), {"tasks.ks.test_root": "/elsewhere"}, TASKS)
    assert data.tasks["ks"]["test_root"] == "/elsewhere"


def test_a_file_may_name_embedded_corpora_that_lie_elsewhere(tmp_path: Path) -> None:
    """As `bench data synth` writes it: the same rows as --data mini, and nothing is made anew."""
    path = tmp_path / "data.yaml"
    path.write_text(f"{YAML}\nname: mini\nversion: 3-seed0\naudio_sha256: {{ks: abc}}\n")
    data = describe_data(str(path), {}, TASKS)
    assert data.identity == "mini-3-seed0"
    assert prepare_data(data) == {"ks": "abc"}


def test_a_table_is_no_data_file(tmp_path: Path) -> None:
    path = tmp_path / "keywords.csv"
    path.write_text("path,split,label\n")
    with pytest.raises(UserError, match=r"Found the table .*such as tasks: \{ks: \{manifest: keywords.csv\}\}\.$"):
        describe_data(str(path), {}, TASKS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [", "Expected YAML"),
        ("just words", "Expected the keys audio and tasks in .*Found text. Write e.g. tasks: "),
        ("", "Expected the keys audio and tasks in .*Found none"),
        ("tasks:\n  - ks\n", r"Expected settings by task below tasks in .*Found \['ks'\]. Write e.g. tasks: "),
        ("tasks:\n", "Found None. Write e.g. tasks: "),
        ("tasks:\n\tks: {}", "Indent with spaces"),
        ("tasks: {ks: {manifest: [a.csv]}}", "manifest: expected one path .found"),
        ("tasks: {ks: {}}", "root is missing. test_root is missing. .*write manifest: FILE.csv instead"),
        ("taks: {}", "unknown key 'taks'. Did you mean 'tasks'"),
        ("tasks: {asr: {}}", "say nothing about ks"),
        (
            "tasks: {ks: {layout: speech_comands}}",
            "tasks.ks: unknown layout 'speech_comands'. Did you mean 'speech_commands'",
        ),
        ("tasks: {ks: {layout: speech_commands, rot: x}}", "unknown key 'rot'. Did you mean 'root'"),
    ],
)
def test_mistakes_are_told_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        describe_data(str(path), {}, TASKS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../outside", "a/b", "=cmd", "a\rb", ".hidden", ""])
def test_names_make_no_paths_and_no_formulas(name: str, data_file: Path) -> None:
    """The name is a part of the run's folder and of tables."""
    data_file.write_text(f"name: {json.dumps(name)}\n{YAML}")
    with pytest.raises(UserError, match=r"mine\.yaml: name: no plain name"):
        describe_data(str(data_file), {}, TASKS)


def test_pipes_and_folders_are_no_data_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", tmp_path):
        with pytest.raises(UserError, match="regular file"):
            describe_data(str(path), {}, TASKS)
