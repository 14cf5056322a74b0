"""The main job as a newcomer runs it: nothing but the package, corpora synthesised on first use."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tasks.mini.corpora import MiniCorpora
from tests.helpers.command_line import BENCH


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
    assert list(table.index) == ["mini-hubert", "dphubert"]
    assert list(table["data"]) == [f"mini-{MiniCorpora.version}"] * 2
    assert table[["asr_wer", "ks_accuracy"]].notna().all(axis=None)
    cache = tmp_path / "cache" / "mini" / MiniCorpora.version
    assert {folder.name for folder in cache.iterdir() if folder.is_dir()} == {"asr", "ks"}
    for task in ("asr", "ks"):
        audio_sha256 = json.loads((cache / task / "corpus.json").read_text())["audio_sha256"]
        records = list(path.parent.glob(f"cells/*/{task}-seed0.json"))
        assert [json.loads(record.read_text())["audio_sha256"] for record in records] == [audio_sha256] * 2
