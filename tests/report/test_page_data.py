"""What the page is told, before any browser: rows that share a front, what is drawn first, what was not compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import Metric
from bench.leaderboard.comparable import Board, read_board, read_boards
from bench.report.page.boards import board_data
from bench.report.page.details import SharedValues, model_details
from bench.report.tables.columns import RTF, columns_of
from bench.report.tables.leaderboards import Group, report_groups
from bench.store.records import Cell, ModelCard, Record, RecordStore
from tests.helpers.run_folders import STUDENT_SCORES

METRICS = {"ks": (Metric("accuracy", higher_is_better=True, primary=True),)}
WITH_FBANK = {**STUDENT_SCORES, "fbank": {"ks": (0.35,), "asr": (0.8,)}}


def fronts(group: Group, axes: str) -> dict[str, set[str]]:
    """Name of each front to the models on it."""
    names = group.table["model"]
    return {one["name"]: {names[row] for row in one["rows"]} for one in board_data(group)["fronts"][axes]}


class TestFronts:
    def test_relative_scores_towards_other_ends_have_fronts_of_their_own(self, write_run: Callable[..., Path]) -> None:
        fewer = {model: {"ks": tasks["ks"]} for model, tasks in WITH_FBANK.items()}
        boards = read_boards([write_run("a", WITH_FBANK), write_run("b", fewer)])
        (group,) = report_groups(boards)
        found = fronts(group, "params relative_score")
        assert set(found) == {"a", "b"}
        assert all(name.endswith(f"({run})") for run, names in found.items() for name in names)
        # Accuracies are on one scale: there is one front, without a name.
        assert set(fronts(group, "params ks_accuracy")) == {""}

    def test_real_time_factors_of_several_machines_have_fronts_of_their_own(
        self, write_run: Callable[..., Path]
    ) -> None:
        board = read_board(write_run())
        table = board.table.assign(source="run", rtf=[0.4, 0.1, 0.2, 0.3], measured_on=["x", "y", "x", "y"])
        group = Group("heading", table, columns_of(table, METRICS, by_superb=False))
        assert RTF in group.columns
        assert set(fronts(group, "rtf ks_accuracy")) == {"x", "y"}
        assert set(fronts(group, "params ks_accuracy")) == {""}


class TestFirstPlot:
    def first(self, group: Group) -> tuple[str, str]:
        data = board_data(group)
        return data["scores"][0]["key"], data["costs"][0]["key"]

    def test_a_score_over_all_tasks_against_parameters(self, write_run: Callable[..., Path]) -> None:
        (group, published) = report_groups([read_board(write_run(scores=WITH_FBANK))], with_published=True)
        assert self.first(group) == ("relative_score", "params")
        assert self.first(published) == ("superb_score", "params")

    def test_without_one_the_first_task(self, write_run: Callable[..., Path]) -> None:
        (group,) = report_groups([read_board(write_run())])
        assert self.first(group) == ("asr_wer", "params")


class TestChanges:
    @pytest.fixture
    def board(self, write_run: Callable[..., Path]) -> Board:
        """A run whose cells all have predictions."""
        folder = write_run()
        store = RecordStore(folder)
        for record in list(store):
            counts = {"accuracy": [1, 1], "wer": [0, 4]}
            said = {"split": "test", "reference": "yes", "prediction": "yes", "correct": True, "counts": counts}
            store.write(record, [{"id": f"clip{index}", **said} for index in range(8)])
        return read_board(folder)

    def changes(self, board: Board) -> dict[str, Any]:
        changes = model_details(board, "test", SharedValues())["small"]["changes"]
        return {one["title"]: one.get("not_compared") for one in changes}

    def test_tasks_stand_in_superb_s_order(self, board: Board) -> None:
        assert list(self.changes(board)) == ["ASR WER", "KS acc."]
        records = model_details(board, "test", SharedValues())["small"]["records"]
        assert [record["cell"]["task"] for record in records] == ["asr", "asr", "ks", "ks"]

    def test_missing_predictions_concern_their_task_alone(self, board: Board) -> None:
        (board.path / "cells" / "small" / "ks-seed1.predictions.jsonl").unlink()
        found = self.changes(board)
        assert found["ASR WER"] is None
        assert "cannot be read" in found["KS"]
        # The page tells files by their place in the run.
        assert "in cells/small/ks-seed1.predictions.jsonl." in found["KS"]
        assert str(board.path.parent) not in found["KS"]

    def test_a_model_of_other_tasks(self, board: Board) -> None:
        card = ModelCard(compressor="dphubert", teacher="teacher", params=2, size_bytes=8)
        (record, *_) = board.records
        other = {"cell": Cell(model="other", task="sid", seed=0), "card": card, "scores": {"test": {"accuracy": 0.5}}}
        RecordStore(board.path).write(Record.model_validate({**record.model_dump(), **other}), [])
        details = model_details(read_board(board.path), "test", SharedValues())
        assert "no task in common" in details["other"]["not_compared"]
        assert details["small"]["changes"]
