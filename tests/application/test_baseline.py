"""``--baseline``: models evaluated beside the teacher."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from bench.provenance import versions
from bench.store.records import RecordStore
from tests.helpers.command_line import bench, error_of


@pytest.mark.parametrize("verb", [["run"], ["sweep", "--sparsity", "0.5", "--seeds", "0"]], ids=str)
def test_it_is_evaluated_after_the_teacher(verb: list[str], tmp_path: Path) -> None:
    what = ["--compressor", "prune-only", "--tasks", "ks", "--baseline", "fbank,random:mini-hubert"]
    result = bench(*verb, *what, "--dry-run", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [step["subject"].split()[0] for step in json.loads(result.stdout) if step["step"] == "evaluate"]
    assert rows[:3] == ["mini-hubert", "fbank", "random-mini-hubert"]


def test_wrong_references_are_told() -> None:
    assert "--baseline" in error_of("run", "--tasks", "ks", "--baseline", ",")
    assert "fbank" in error_of("run", "--tasks", "ks", "--baseline", "fbnk")


@pytest.mark.slow
def test_it_extends_a_finished_run_and_gives_relative_scores(embedded_data: Path, tmp_path: Path) -> None:
    what = ["run", "--tasks", "ks", "--preset", "smoke", "--data", str(embedded_data), "--device", "cpu"]
    # Enough updates for a teacher above filter banks.
    what += ["--lr", "1e-2", "--set", "tasks.ks.total_steps=60", "--out", str(tmp_path / "run")]
    assert bench(*what).returncode == 0
    result = bench(*what, "--baseline", "fbank")
    assert result.returncode == 0, result.stderr
    assert "evaluate mini-hubert: done before" in result.stderr
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv").set_index("model")
    assert table["relative_score"].to_dict() == {"mini-hubert": 100, "fbank": 0}
    for record in RecordStore(tmp_path / "run"):
        assert record.provenance["versions"].keys() == versions().keys()
        assert record.provenance["machine"]["cpu"]
        assert record.provenance["seconds"] > 0 < record.provenance["cpu_seconds"]
