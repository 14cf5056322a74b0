"""``bench report`` on the command line, and the check of a CSV against the records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.errors import UserError
from bench.reports.tables.verification import differences, read_csv_cells
from tests.helpers.command_line import bench, error_of
from tests.helpers.table_runs import ROWS, Write


class TestVerification:
    def test_a_leaderboard_agrees_with_its_records(self, write_rows: Write, tmp_path: Path) -> None:
        folder = write_rows(ROWS, seeds=2)
        result = bench("report", "--verify", str(folder / "leaderboard.csv"))
        assert (result.returncode, result.stderr) == (0, "")
        assert "agrees with" in result.stdout

    def test_columns_without_figures_may_be_missing(self, write_rows: Write, tmp_path: Path) -> None:
        folder = write_rows(ROWS)
        table = pd.read_csv(folder / "leaderboard.csv")
        path = tmp_path / "older.csv"
        table.drop(columns="superb_score").to_csv(path, index=False)
        assert bench("report", str(folder), "--verify", str(path)).returncode == 0
        table.drop(columns="ks_accuracy").to_csv(path, index=False)
        assert "column ks_accuracy: missing" in bench("report", str(folder), "--verify", str(path)).stdout

    def test_a_changed_cell_is_told(self, write_rows: Write, tmp_path: Path) -> None:
        folder = write_rows(ROWS)
        text = (folder / "leaderboard.csv").read_text()
        (tmp_path / "changed.csv").write_text(text.replace("80.0,", "80.1,"))
        result = bench("report", str(folder), "--verify", str(tmp_path / "changed.csv"))
        assert result.returncode == 1
        assert result.stdout.splitlines()[0] == "a, ks_accuracy: 80.1 in the CSV, 80.0 by the records"

    def test_every_kind_of_difference(self, tmp_path: Path) -> None:
        path = tmp_path / "given.csv"
        path.write_text("model,x,y\na,1.0,text\nb,2.0,\nb,2.0,\n")
        rebuilt = "model,x,z\na,1.0000000000001,3\nb,2.00001,\nc,1,1\n"
        assert differences(read_csv_cells(path), rebuilt) == [
            "column z: missing in the CSV",
            "column y: only in the CSV",
            "b: 2 times in the CSV, 1 by the records",
            "b, x: 2.0 in the CSV, 2.00001 by the records",
            "c: 0 times in the CSV, 1 by the records",
        ]

    @pytest.mark.parametrize("content", ["", "a,b\n1,2\n", '"'])
    def test_what_is_no_leaderboard_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.csv").write_text(content)
        with pytest.raises(UserError, match=r"x\.csv"):
            read_csv_cells(tmp_path / "x.csv")


class TestCommand:
    def test_files_and_their_check(self, write_rows: Write, tmp_path: Path) -> None:
        one, two = write_rows(ROWS, "one"), write_rows(ROWS, "two", preset="smoke")
        formats = ["--format", "csv,md,latex", "--with-published"]
        result = bench("report", str(one), str(two), *formats, "--out", str(tmp_path / "out"))
        assert result.returncode == 0, result.stderr
        assert [Path(line).name for line in result.stdout.splitlines()] == ["report.csv", "report.md", "report.tex"]
        written = tmp_path / "out" / "report.csv"
        table = pd.read_csv(written)
        assert table["preset"].value_counts().to_dict() == {"published": 45, "mini": 3, "smoke": 3}
        result = bench("report", str(one), str(two), "--verify", str(written))
        assert result.returncode == 0, result.stdout

    def test_a_folder_of_runs_stands_for_them(self, write_rows: Write, tmp_path: Path) -> None:
        write_rows(ROWS, "results/runs/one")
        write_rows(ROWS, "results/runs/two")
        (tmp_path / "results/runs/empty").mkdir()
        result = bench("report", "results", "--format", "csv", cwd=tmp_path)
        assert result.stdout.strip() == str(Path("results/report/report.csv"))
        assert set(pd.read_csv(tmp_path / "results/report/report.csv")["source"]) == {"one", "two"}

    def test_a_file_in_the_way(self, write_rows: Write, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        message = error_of("report", str(write_rows(ROWS)), "--format", "md", "--out", str(tmp_path / "file"))
        assert message.strip().endswith(f"folder at {tmp_path / 'file'}. Found a file in its way. Choose another path.")

    def test_published_rows_alone(self, tmp_path: Path) -> None:
        result = bench("report", "--with-published", "--format", "csv", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert len(pd.read_csv(tmp_path / "report" / "report.csv")) == 45

    def test_wrong_use(self, tmp_path: Path) -> None:
        assert "Did you mean 'latex'" in error_of("report", "--format", "latx")
        assert "no config.yaml" in error_of("report", str(tmp_path))
