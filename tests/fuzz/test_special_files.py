"""Pipes and devices in place of a run's files: refused at once, since reading them may never end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.reports.plots.training import training_table
from bench.reports.tables.verification import read_csv_cells
from bench.store.reading import read_json_as, read_json_lines_as
from bench.store.records import Prediction, Record
from tests.fuzz.harness import ends_well

READERS: dict[str, Callable[[Path], object]] = {
    "record": lambda path: read_json_as(Record, path, "a record", "Delete it."),
    "predictions": lambda path: list(read_json_lines_as(Prediction, path, "predictions", "Delete it.")),
    "training.csv": training_table,
    "leaderboard.csv": read_csv_cells,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_special_files(reader: Callable[[Path], object], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    {"pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero"), "folder": path.mkdir}[kind]()
    message = ends_well(reader, path)
    assert message is not None
    assert str(path) in message


def test_a_history_of_very_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    path.write_text(",".join(["stage", "update", "loss", *map(str, range(20_000))]) + "\njoint,1,0.5\n")
    assert "line 1" in (ends_well(training_table, path) or "")
