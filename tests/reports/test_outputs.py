"""Files that reports, plots and comparisons write: whole or not there, under names of their own."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from bench.cli.app import application
from bench.cli.faults import explained
from bench.errors import UserError
from bench.reports.plots.canvas import Options
from bench.reports.plots.kinds import draw_plots
from bench.reports.plots.training import training_table
from bench.reports.plots.writing import Plot

Write = Callable[..., Path]
COMMANDS = {
    "report.csv": ["report", "--format", "csv"],
    "report.md": ["report", "--format", "md"],
    "report.tex": ["report", "--format", "latex"],
    "bars.pdf": ["plot", "--kind", "bars"],
    "bars.png": ["plot", "--kind", "bars"],
    "bars.csv": ["plot", "--kind", "bars"],
}


def refusal(*arguments: str) -> str:
    """Return the line that a command ends with."""
    with pytest.raises((OSError, UserError)) as raised:
        application()(list(arguments), standalone_mode=False)
    fault = explained(raised.value)
    assert fault is not None
    assert fault.exit_code == 2
    return fault.message


class TestCannotBeWritten:
    @pytest.mark.parametrize("file", COMMANDS)
    def test_a_folder_in_the_way(self, write_run: Write, tmp_path: Path, file: str) -> None:
        out = tmp_path / "out"
        (out / file / "inside").mkdir(parents=True)
        verb, *options = COMMANDS[file]
        assert str(out / file) in refusal(verb, str(write_run()), *options, "--out", str(out))
        assert not list(out.glob(".*"))
        assert (out / file / "inside").is_dir()

    @pytest.mark.parametrize("file", COMMANDS)
    def test_a_full_disk(self, write_run: Write, tmp_path: Path, monkeypatch: Any, file: str) -> None:
        def full(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.name.startswith(f".{file}."):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        folder, out = write_run(), tmp_path / "out"
        monkeypatch.setattr(os, "fsync", full)
        verb, *options = COMMANDS[file]
        message = refusal(verb, str(folder), *options, "--out", str(out))
        assert str(out / file) in message
        assert os.strerror(errno.ENOSPC) in message
        assert not list(out.glob(".*"))
        assert not (out / file).exists()

    def test_changed_utterances(self, write_run: Write, tmp_path: Path) -> None:
        folder = write_run("run", {name: {"ks": (0.5,)} for name in ("a", "b")})
        _write_predictions(folder, ["x"] * 20)
        (tmp_path / "out.csv").mkdir()
        options = ["--run", str(folder), "--changes", "all", "--out", str(tmp_path / "out.csv")]
        assert str(tmp_path / "out.csv") in refusal("compare", "a", "b", *options)
        assert not list(tmp_path.glob(".*"))


def _write_predictions(folder: Path, words: list[str]) -> None:
    for model, answer in (("a", 1), ("b", 0)):
        rows = [
            {"id": f"{index}", "split": "test", "reference": word, "prediction": word, "correct": answer}
            | {"counts": {"accuracy": [answer, 1]}, "speaker": word}
            for index, word in enumerate(words)
        ]
        path = folder / "cells" / model / "ks-seed0.predictions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_carriage_return_starts_no_row(write_run: Write, tmp_path: Path) -> None:
    """Words of a user's own corpus stand in the table of changed utterances as they are, and never as formulas."""
    folder = write_run("run", {name: {"ks": (0.5,)} for name in ("a", "b")})
    words = ["a\r=cmd()", "\r=1", "\x1b[31m", "-1", 'say "x", y'] * 4
    _write_predictions(folder, words)
    path = tmp_path / "changed.csv"
    arguments = ["compare", "a", "b", "--run", str(folder), "--changes", "label", "--out", str(path)]
    assert application()(arguments, standalone_mode=False) == 0
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))
    assert len(rows) == len(words)
    shown = {word: f"'{word}" if word[0] in "\r-" else word for word in words}
    assert sorted(row["reference"] for row in rows) == sorted(shown[word] for word in words)


def test_figures_whose_names_differ_in_odd_letters_alone(tmp_path: Path, monkeypatch: Any) -> None:
    names = ["architecture-a/b", "architecture-a b", "architecture-A B", "architecture-中", "../../x", "\x00"]
    plots = [Plot(name, pd.DataFrame({"x": [1]}), lambda _, options: Figure((options.width_in, 1))) for name in names]
    monkeypatch.setattr("bench.reports.plots.kinds.KINDS", {"architecture": lambda _: plots})
    written = draw_plots([], ["architecture"], tmp_path / "out", Options(), skip_absent=False, with_published=False)
    stems = [paths["csv"].stem.lower() for paths in written]
    assert len(set(stems)) == len(names)
    assert all(path.parent == tmp_path / "out" and path.is_file() for paths in written for path in paths.values())


@pytest.mark.parametrize(
    ("rows", "line", "found"),
    [
        ("joint,20,nan", 3, "'nan'"),
        ("joint,20,inf", 3, "'inf'"),
        ("joint,20,-0.5\njoint,x,1", 4, "'x'"),
        ("joint,20,1e999", 3, "'1e999'"),
        ("joint,20,-0.5\njoi", 4, "update"),
        ("joint,20", 3, "loss"),
        ("joint,20,\x00", 3, "x00"),
        ("joint,20,-0.5,1,2,3", 3, "fields"),
    ],
)
def test_a_damaged_history_names_its_line(tmp_path: Path, rows: str, line: int, found: str) -> None:
    path = tmp_path / "training.csv"
    path.write_text(f"stage,update,loss\njoint,10,-0.3\n{rows}")
    with pytest.raises(UserError, match=rf"training\.csv.*line {line}\b.*") as raised:
        training_table(path)
    assert found in str(raised.value)
