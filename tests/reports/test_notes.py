"""What tables, figures and pages say about their scores: what they are from, and whether they mean anything."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.cli.app import application
from bench.files.csv_text import csv_text
from bench.leaderboard.collate import MEANINGLESS
from bench.leaderboard.comparable import read_boards
from bench.reports.page.writing import page_html
from bench.reports.plots import bars, pareto
from bench.reports.plots.sources import read_sources
from bench.reports.plots.writing import write_plot
from bench.reports.tables.formats import report_csv
from bench.reports.tables.latex import document
from bench.reports.tables.leaderboards import Group, report_groups
from bench.reports.tables.markdown import markdown
from tests.helpers.plots import options
from tests.helpers.run_folders import STUDENT_SCORES

Write = Callable[..., Path]
SETTINGS = {"num_test_utterances": 480}
SAME_SIZE = {**STUDENT_SCORES, "twin": STUDENT_SCORES["worse"]}
"""Two students of one size: one of them is the best of it."""


def run_bench(*arguments: str) -> int:
    result: int = application()(list(arguments), standalone_mode=False)
    return result


def only_group(folder: Path) -> Group:
    (group,) = report_groups(read_boards([folder]))
    return group


@pytest.fixture
def smoke(write_run: Write) -> Path:
    return write_run("run", SAME_SIZE, preset="smoke", settings=SETTINGS)


class TestSmoke:
    def test_the_terminal(self, smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_bench("report", str(smoke)) == 0
        assert capsys.readouterr().out.count(MEANINGLESS) >= 2  # The title, and a note.

    def test_csv_rows(self, smoke: Path) -> None:
        (board,) = read_boards([smoke])
        for text in (csv_text(board.table), report_csv([only_group(smoke)])):
            rows = list(csv.DictReader(io.StringIO(text)))
            assert len(rows) == 5
            assert all(MEANINGLESS in row["note"] for row in rows)

    def test_markdown_and_latex_say_it_and_have_no_best(self, smoke: Path) -> None:
        group = only_group(smoke)
        assert MEANINGLESS in markdown([group])
        assert "**" not in markdown([group])
        text = document([group])
        assert MEANINGLESS in text.partition("\\caption{")[2].partition("\n")[0]
        assert "\\bfseries " not in text

    def test_the_page(self, smoke: Path) -> None:
        html = page_html([only_group(smoke)], {})
        assert MEANINGLESS in html.partition('<p class="warning"')[2].partition("</p>")[0]

    @pytest.mark.parametrize("kind", [pareto, bars], ids=["pareto", "bars"])
    def test_figures_and_their_csv(self, smoke: Path, tmp_path: Path, monkeypatch: Any, kind: Any) -> None:
        stamped: list[str] = []
        monkeypatch.setattr("bench.reports.plots.writing.stamp", lambda _, text: stamped.append(text))
        plot = kind.plots(read_sources([smoke]))[0]
        paths = write_plot(plot, tmp_path / "out", options(plot))
        assert len(stamped) == 1
        assert MEANINGLESS in stamped[0]
        assert all(MEANINGLESS in note for note in pd.read_csv(paths["csv"])["note"])
        assert "smoke" in plot.draw(plot.data, options(plot)).get_supxlabel()

    def test_comparisons(self, tmp_path: Path, smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for model in ("small", "large"):
            rows = [
                {"id": f"u{index}", "split": "test", "reference": "yes", "counts": {"accuracy": [index % 2, 1]}}
                for index in range(20)
            ]
            for seed in (0, 1):
                path = smoke / "cells" / model / f"ks-seed{seed}.predictions.jsonl"
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
                (smoke / "cells" / model / f"asr-seed{seed}.json").unlink()
        for extra in ([], ["--changes", "all"]):
            assert run_bench("compare", "small", "large", "--run", str(smoke), *extra) == 0
            assert MEANINGLESS in capsys.readouterr().out
            run_bench("compare", "small", "large", "--run", str(smoke), *extra, "--json")
            assert MEANINGLESS in json.loads(capsys.readouterr().out)[0]["note"]

    def test_other_presets_say_nothing_of_the_kind(self, write_run: Write) -> None:
        group = only_group(write_run("run", SAME_SIZE, settings=SETTINGS))
        assert "**" in markdown([group])
        texts = [markdown([group]), document([group]), page_html([group], {}), report_csv([group])]
        assert not any(MEANINGLESS in text for text in texts)


class TestSampleSizes:
    def test_every_table_states_utterances_and_seeds(self, write_run: Write) -> None:
        group = only_group(write_run("run", settings=SETTINGS))
        for text in (markdown([group]), document([group]), page_html([group], {})):
            assert "ks 480 (2 seeds)" in text
        rows = list(csv.DictReader(io.StringIO(report_csv([group]))))
        assert {(row["ks_utterances"], row["ks_seeds"]) for row in rows} == {("480", "2")}

    def test_rows_that_differ_give_a_range(self, write_run: Write) -> None:
        scores = {"teacher": {"ks": (0.8,)}, "small": {"ks": (0.6, 0.5, 0.4)}}
        group = only_group(write_run("run", scores, settings=SETTINGS))
        assert any("ks 480 (1 to 3 seeds)" in note for note in group.notes)

    def test_a_task_that_does_not_count_is_unknown(self, write_run: Write) -> None:
        assert any("ks an unknown number (2 seeds)" in note for note in only_group(write_run()).notes)

    def test_word_error_rates_say_whose_rule_they_follow(self, write_run: Write) -> None:
        assert any("s3prl" in note and "jiwer" in note for note in only_group(write_run()).notes)
        ks_alone = {"teacher": {"ks": (0.8,)}}
        assert not any("jiwer" in note for note in only_group(write_run("ks", ks_alone)).notes)


def test_why_there_is_no_relative_score_is_a_note(write_run: Write, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"teacher": {"ks": (21 / 60,)}, "fbank": {"ks": (20 / 60,)}, "small": {"ks": (30 / 60,)}}
    folder = write_run("run", scores, settings={"num_test_utterances": 60})
    group = only_group(folder)
    (note,) = [note for note in group.notes if "relative score" in note]
    assert "standard error" in note
    assert "relative_score" not in {column.key for column in group.columns}
    assert run_bench("report", str(folder)) == 0
    assert "standard error" in " ".join(capsys.readouterr().out.split())
