"""Cells that failed, in every format of a report."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.leaderboard.comparable import read_boards
from bench.reports.tables.formats import report_csv
from bench.reports.tables.latex import document
from bench.reports.tables.leaderboards import Figure, Group, report_groups
from bench.reports.tables.markdown import markdown
from bench.reports.tables.verification import differences, read_csv_cells
from tests.helpers.table_runs import ROWS, Write


class TestFailedCells:
    """A cell that failed says so in every format, whether one run is shown or several."""

    @pytest.fixture
    def runs(self, write_rows: Write) -> list[Path]:
        """Two runs with a row ``a``, whose ASR failed in the second one, as did all of row ``gone``."""
        first, second = write_rows(ROWS, "first"), write_rows(ROWS, "second")
        (second / "cells" / "a" / "asr-seed0.json").unlink()
        for name in ("a/asr-seed0.txt", "compress-gone.txt"):
            note = second / "failures" / name
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text("out of memory")
        self.configure(second, models={"gone": {"compressor": "dphubert", "settings": {}}})
        for run in (first, second):
            self.configure(run, tasks={"asr": {}, "ks": {}})
        return [first, second]

    def configure(self, run: Path, **changes: dict[str, Any]) -> None:
        """Add entries to mappings of a run's configuration."""
        path = run / "config.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(config | {key: config[key] | values for key, values in changes.items()}))

    def cells(self, group: Group) -> dict[str, Any]:
        return {row["model"]: row for row in group.rows()}

    def test_in_the_rows_of_the_run_where_they_failed(self, runs: list[Path]) -> None:
        (group,) = report_groups(read_boards(runs))
        cells = self.cells(group)
        assert isinstance(cells["a (first)"]["asr_wer"], Figure)
        assert cells["a (second)"]["asr_wer"] == "failed"
        assert isinstance(cells["a (second)"]["ks_accuracy"], Figure)
        assert (cells["gone"]["asr_wer"], cells["gone"]["ks_accuracy"]) == ("failed", "failed")
        assert cells["gone"]["params"] is None
        assert group.texts()[-1]["model"] == "gone"

    def test_in_markdown_latex_and_the_page(self, runs: list[Path]) -> None:
        from bench.reports.page.writing import page_html

        groups = report_groups(read_boards(runs))
        assert markdown(groups).count(" failed ") == 3
        assert document(groups).count("& failed ") == 3
        assert page_html(groups, {}).count(">failed<") == 3

    def test_in_the_csv(self, runs: list[Path], tmp_path: Path) -> None:
        text = report_csv(report_groups(read_boards(runs)))
        rows = {(row["source"], row["model"]): row for row in csv.DictReader(io.StringIO(text))}
        assert rows["second", "a (second)"]["failed"] == "asr"
        assert rows["second", "gone"]["failed"] == "asr;ks"
        assert rows["first", "a (first)"]["failed"] == ""
        path = tmp_path / "report.csv"
        path.write_text(text)
        assert differences(read_csv_cells(path), text) == []

    def test_only_of_the_tasks_that_are_shown(self, runs: list[Path]) -> None:
        (group,) = report_groups(read_boards(runs[1:], tasks=["ks"]))
        assert self.cells(group)["gone"]["ks_accuracy"] == "failed"
        assert "asr_wer" not in {column.key for column in group.columns}
        assert not any("asr" in note for note in group.notes)

    def test_of_a_task_that_failed_on_every_row(self, write_rows: Write) -> None:
        run = write_rows({"mini-hubert": {"ks": {"accuracy": 0.9}}})
        note = run / "failures" / "mini-hubert" / "ic-seed0.txt"
        note.parent.mkdir(parents=True)
        note.write_text("out of memory")
        self.configure(run, tasks={"ic": {}})
        (group,) = report_groups(read_boards([run]))
        assert self.cells(group)["mini-hubert"]["ic_accuracy"] == "failed"
