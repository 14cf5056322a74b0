"""The content of the page, before any browser: rows that share a front, what is drawn first, what was not compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly
import pytest

from bench.contracts import Metric
from bench.leaderboard.comparable import Board, read_board, read_boards
from bench.reports.page.details import ModelDetails, SharedValues, model_details
from bench.reports.page.figures import architecture_figure, axes_of, pareto_figures
from bench.reports.plots import architecture
from bench.reports.plots.series import looks_of
from bench.reports.tables.columns import RTF
from bench.reports.tables.leaderboards import Group, report_groups
from bench.store.records import Cell, ModelCard, Record, RecordStore
from tests.helpers.plots import sources
from tests.helpers.run_folders import STUDENT_SCORES

METRICS = {"ks": (Metric("accuracy", higher_is_better=True, primary=True),)}
WITH_FBANK = {**STUDENT_SCORES, "fbank": {"ks": (0.35,), "asr": (0.8,)}}


LOOKS = looks_of(["dphubert"])


def fronts(group: Group, axes: str) -> dict[str, set[float]]:
    """Name of each front to the scores on it."""
    traces = pareto_figures(group, LOOKS)[axes]["data"]
    return {one["name"]: set(one["y"]) for one in traces if one["name"].startswith("Pareto front")}


class TestFronts:
    def test_relative_scores_towards_other_ends_have_fronts_of_their_own(self, write_run: Callable[..., Path]) -> None:
        fewer = {model: {"ks": tasks["ks"]} for model, tasks in WITH_FBANK.items()}
        boards = read_boards([write_run("a", WITH_FBANK), write_run("b", fewer)])
        (group,) = report_groups(boards)
        found = fronts(group, "params relative_score")
        assert set(found) == {"Pareto front (a)", "Pareto front (b)"}
        # Accuracies are on one scale: there is one front, without a name.
        assert set(fronts(group, "params ks_accuracy")) == {"Pareto front"}

    def test_real_time_factors_of_several_machines_have_fronts_of_their_own(
        self, write_run: Callable[..., Path]
    ) -> None:
        board = read_board(write_run())
        board.table["rtf"] = [0.4, 0.1, 0.2, 0.3]
        board.table["measured_on"] = ["x", "y", "x", "y"]
        (group,) = report_groups([board])
        assert RTF in group.columns
        assert set(fronts(group, "rtf ks_accuracy")) == {"Pareto front (x)", "Pareto front (y)"}
        assert set(fronts(group, "params ks_accuracy")) == {"Pareto front"}

    def test_plotly_accepts_the_figures(self, write_run: Callable[..., Path], save_student: Callable[..., Any]) -> None:
        run = write_run(scores=WITH_FBANK)
        save_student(run, "small", teacher="random:mini-hubert", compressor="dphubert")
        (group,) = report_groups([read_board(run)])
        (plot,) = architecture.plots(sources(run))
        layers = architecture_figure(plot.data, LOOKS["dphubert"])
        assert [trace["y"] for trace in layers["data"] if trace["name"] == "kept"][1][:3] == [2, 0, 1]
        for figure in (layers, *pareto_figures(group, LOOKS).values()):
            plotly.graph_objects.Figure(figure)


class TestFirstPlot:
    def first(self, group: Group) -> tuple[str, str]:
        costs, scores = axes_of(group)
        return scores[0].key, costs[0].key

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

    def details(self, board: Board) -> dict[str, ModelDetails]:
        return model_details(board, "test", SharedValues(), LOOKS)

    def changes(self, board: Board) -> dict[str, str]:
        """Title of each task's changes to why there are none."""
        found = self.details(board)["small"].changes
        return dict(one if isinstance(one, tuple) else (one.task, "") for one in found)

    def test_tasks_are_in_the_order_of_superb(self, board: Board) -> None:
        assert list(self.changes(board)) == ["asr", "ks"]
        assert list(self.details(board)["small"].records) == [
            f"{task}, seed {n}" for task in ("asr", "ks") for n in (0, 1)
        ]

    def test_missing_predictions_concern_their_task_alone(self, board: Board) -> None:
        (board.path / "cells" / "small" / "ks-seed1.predictions.jsonl").unlink()
        found = self.changes(board)
        assert found["asr"] == ""
        assert "cannot be read" in found["KS"]
        # The page names files by their place in the run.
        assert "in cells/small/ks-seed1.predictions.jsonl." in found["KS"]
        assert str(board.path.parent) not in found["KS"]

    def test_a_model_of_other_tasks(self, board: Board) -> None:
        card = ModelCard(compressor="dphubert", teacher="teacher", params=2, size_bytes=8)
        (record, *_) = board.records
        other = {"cell": Cell(model="other", task="sid", seed=0), "card": card, "scores": {"test": {"accuracy": 0.5}}}
        RecordStore(board.path).write(Record.model_validate({**record.model_dump(), **other}), [])
        details = self.details(read_board(board.path))
        assert "no task in common" in details["other"].not_compared
        assert details["small"].changes
