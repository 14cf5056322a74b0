"""Stars in tables: which scores differ from those of one row; and the options of tables for papers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from bench.cli.app import application
from bench.errors import UserError
from bench.leaderboard.comparable import read_boards
from bench.reports.tables.leaderboards import Group, report_groups
from bench.reports.tables.significance import with_stars
from tests.helpers.table_runs import ROWS, Write

SAME = {"ks": {"accuracy": 0.9}, "asr": {"wer": 0.3, "cer": 0.1}}


@pytest.fixture
def write_rows(write_rows: Write) -> Write:
    """Write a run without predictions, whose rows are compared over seeds."""

    def write(*arguments: Any, **options: Any) -> Path:
        folder = write_rows(*arguments, **options)
        for path in folder.rglob("*.predictions.jsonl"):
            path.unlink()
        return folder

    return write


def starred(*folders: Path, against: str) -> list[Group]:
    boards = read_boards(folders)
    return with_stars(report_groups(boards), boards, against)


def stars(group: Group) -> dict[str, str]:
    return dict(zip(group.table["model"], group.table["ks_accuracy_differs"], strict=True))


def test_scores_that_differ_from_the_teachers(write_rows: Write) -> None:
    (group,) = starred(write_rows({**ROWS, "same": SAME}, seeds=3), against="teacher")
    assert stars(group) == {"mini-hubert": "", "a": "**", "b": "**", "same": ""}
    assert group.texts()[1]["KS acc. (%) ↑"] == "81.00 ± 1.00**"
    assert any("differs from mini-hubert" in note for note in group.notes)
    # All seeds are heads of one model.
    assert any("not about methods" in note for note in group.notes)


def test_a_chosen_row_of_another_run(write_rows: Write) -> None:
    one, two = write_rows(ROWS, "one", seeds=3), write_rows({"same": SAME}, "two", seeds=3)
    (group,) = starred(one, two, against="same")
    assert stars(group) == {"mini-hubert": "", "a": "**", "b": "**", "same": ""}


def test_a_row_without_the_seeds_has_no_stars(write_rows: Write, caplog: pytest.LogCaptureFixture) -> None:
    one, two = write_rows(ROWS, "one", seeds=3), write_rows({"other": SAME}, "two")
    with caplog.at_level(logging.WARNING):
        (group,) = starred(one, two, against="a")
    assert stars(group)["other"] == ""
    assert any("other has no stars" in message for message in caplog.messages)


def test_meaningless_scores_have_none(write_rows: Write) -> None:
    (group,) = starred(write_rows(ROWS, seeds=3, preset="smoke"), against="teacher")
    assert "ks_accuracy_differs" not in group.table


def test_an_unknown_row_is_refused(write_rows: Write) -> None:
    with pytest.raises(UserError, match=r"--against: .*'aa'"):
        starred(write_rows(ROWS), against="aa")


def test_a_table_for_a_paper(write_rows: Write, tmp_path: Path) -> None:
    folder = write_rows({"mini-hubert": ROWS["mini-hubert"], "dphubert-0.75": ROWS["a"]}, seeds=3)
    options = ["--against", "teacher", "--rename", "dphubert=DPHuBERT", "--columns", "params,ks_accuracy"]
    paper = ["--format", "latex,md", "--fragment", "--out", str(tmp_path / "out")]
    assert application()(["report", str(folder), *options, *paper], standalone_mode=False) == 0
    lines = (tmp_path / "out" / "report.tex").read_text().splitlines()
    assert "model & params (M) & KS acc. (\\%) $\\uparrow$ \\\\" in lines
    assert "DPHuBERT-0.75 & 0.50 & 81.00 $\\pm$ 1.00\\rlap{\\textsuperscript{**}} \\\\" in lines
    assert "| DPHuBERT-0.75 | 0.50 |" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("option", [["--fragment"], ["--caption", "x"], ["--label", "x"]])
def test_options_of_latex_need_latex(write_rows: Write, option: list[str]) -> None:
    with pytest.raises(UserError, match="--format latex"):
        application()(["report", str(write_rows(ROWS)), *option], standalone_mode=False)
