"""The main job as a newcomer runs it: nothing but the package, corpora synthesised on first use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.application.test_command_line import BENCH


@pytest.mark.slow
def test_it_runs_from_an_empty_folder(tmp_path: Path) -> None:
    command = [*BENCH, "run", "--compressor", "dphubert", "--tasks", "asr,ks", "--preset", "smoke"]
    environment = {**os.environ, "SUPERB_BENCH_CACHE": str(tmp_path / "cache")}
    (tmp_path / "work").mkdir()
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path / "work", env=environment
    )
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / "work").glob("results/runs/*/leaderboard.csv")
    assert str(path.relative_to(tmp_path / "work")) in result.stdout
    table = pd.read_csv(path).set_index("model")
    assert list(table.index) == ["random-mini-hubert", "dphubert"]
    assert list(table["data"]) == ["mini-1-seed0"] * 2
    assert table[["asr_wer", "ks_accuracy"]].notna().all(axis=None)
