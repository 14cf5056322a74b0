"""A sweep: every seed compresses, and a row is the mean over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.command_line import bench, error_of

ROWS = ["mini-hubert", "dphubert-0.5", "dphubert-0.75"]


def arguments(embedded_data: Path, out: Path, seeds: str) -> list[str]:
    what = ["--compressor", "dphubert", "--sparsity", "0.5,0.75", "--seeds", seeds, "--tasks", "ks"]
    return ["sweep", *what, "--preset", "smoke", "--data", str(embedded_data), "--out", str(out), "--device", "cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, embedded_data: Path) -> Path:
    """A sweep with seed 0, extended by seed 1."""
    out = tmp_path_factory.mktemp("sweeps") / "sweep"
    for seeds in ("0", "0,1"):
        result = bench(*arguments(embedded_data, out, seeds))
        assert result.returncode == 0, result.stderr
    return out


@pytest.mark.slow
class TestSweep:
    def test_a_row_is_a_compressor_at_a_sparsity(self, finished: Path) -> None:
        table = pd.read_csv(finished / "leaderboard.csv").set_index("model")
        assert list(table.index) == ROWS
        assert list(table["compressor"]) == ["none", "dphubert", "dphubert"]
        assert table["target_sparsity"].tolist()[1:] == [0.5, 0.75]
        for row in ROWS[1:]:
            assert table.loc[row, "sparsity"] == pytest.approx(table.loc[row, "target_sparsity"], abs=0.01)

    def test_every_seed_compresses(self, finished: Path) -> None:
        for row in ROWS[1:]:
            folders = [finished / "models" / f"{row}-seed{seed}" for seed in (0, 1)]
            provenances = [json.loads((folder / "config.json").read_text())["provenance"] for folder in folders]
            assert [provenance["seed"] for provenance in provenances] == [0, 1]
            weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
            assert weights[0] != weights[1]

    def test_a_row_is_the_mean_over_seeds_of_their_own_models(self, finished: Path) -> None:
        table = pd.read_csv(finished / "leaderboard.csv").set_index("model")
        for row in ROWS[1:]:
            records = [
                json.loads((finished / "cells" / row / f"ks-seed{seed}.json").read_text(encoding="utf-8"))
                for seed in (0, 1)
            ]
            assert records[0]["provenance"]["weights_hash"] != records[1]["provenance"]["weights_hash"]
            accuracies = pd.Series([100 * record["scores"]["test"]["accuracy"] for record in records])
            assert table.loc[row, "ks_accuracy"] == pytest.approx(accuracies.mean())
            assert table.loc[row, "ks_accuracy_std"] == pytest.approx(accuracies.std())
            params = pd.Series([record["card"]["params"] for record in records])
            assert table.loc[row, "params"] == pytest.approx(params.mean(), abs=0.5)

    def test_its_plan_is_done(self, finished: Path, embedded_data: Path) -> None:
        result = bench(*arguments(embedded_data, finished, "0,1"), "--dry-run", "--json")
        steps = json.loads(result.stdout)
        compressions = [step["subject"] for step in steps if step["step"] == "compress"]
        assert compressions == [f"{row}-seed{seed}" for row in ROWS[1:] for seed in (0, 1)]
        assert sum(step["step"] == "evaluate" for step in steps) == 3 * 2
        assert {step["state"] for step in steps} == {"done"}

    def test_a_plain_run_does_not_join_it(self, finished: Path, embedded_data: Path) -> None:
        what = ["--compressor", "dphubert", "--tasks", "ks", "--preset", "smoke", "--data", str(embedded_data)]
        assert "training_budget" in error_of("run", *what, "--out", str(finished))


@pytest.mark.parametrize("sparsity", ["", "1.5", "0", "half", "0.5,0.50"])
def test_sparsities_are_fractions(sparsity: str) -> None:
    assert "--sparsity" in error_of("sweep", "--compressor", "dphubert", "--sparsity", sparsity, "--tasks", "ks")


@pytest.mark.parametrize("size", ["params=1M", "sparsity=0.9"])
def test_a_size_beside_the_sweeps_own_is_refused(size: str) -> None:
    what = ["--compressor", "dphubert", "--sparsity", "0.5", "--tasks", "ks", "--set", size]
    assert "--sparsity" in error_of("sweep", *what)


def test_a_student_of_a_fixed_size_is_one_row(tmp_path: Path) -> None:
    what = ["--compressor", "dphubert,distill-only", "--set", "student=distilhubert", "--seeds", "0"]
    result = bench("sweep", *what, "--sparsity", "0.5,0.75", "--tasks", "ks", "--dry-run", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [step["subject"] for step in json.loads(result.stdout) if step["step"] == "compress"]
    assert rows == ["dphubert-0.5-seed0", "dphubert-0.75-seed0", "distill-only-seed0"]
