"""`--dry-run`: the plan, its estimates, and checked corpora."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import bench, error_of
from tests.runs.test_estimates import data  # noqa: F401 - a fixture

RUN = ("run", "--compressor", "dphubert,int8", "--tasks", "ks", "--preset", "smoke", "--device", "cpu", "--dry-run")


@pytest.mark.parametrize(
    "verb",
    [
        RUN,
        ("sweep", *RUN[1:3], "--sparsity", "0.5", *RUN[3:]),
        ("evaluate", "--model", "mini-hubert", *RUN[3:]),
    ],
    ids=lambda verb: verb[0],
)
def test_every_item_has_estimates(verb: tuple[str, ...], data: Path, tmp_path: Path) -> None:  # noqa: F811
    if verb[0] == "sweep":
        verb = tuple(word.replace("dphubert,int8", "dphubert") for word in verb)
    done = bench(*verb, "--data", str(data), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    for step in steps:
        assert step.keys() == {
            *("step", "subject", "state"),
            *("updates", "learning_rates", "audio_hours", "macs", "head_macs", "gpu_hours", "disk_bytes"),
        }
    assert all(step["updates"] == 20 for step in steps if step["step"] == "evaluate")


def test_the_table_has_corpora_and_totals(data: Path, tmp_path: Path) -> None:  # noqa: F811
    done = bench(*RUN, "--data", str(data), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = done.stdout
    for fact in ("TMACs", "GPU h", "audio", "train", "5 items", "72 updates", "TFLOPS", "checkpoints", "features"):
        assert fact in table, fact
    assert not (tmp_path / "results").exists()


def test_the_cost_of_a_search_is_announced(data: Path, tmp_path: Path) -> None:  # noqa: F811
    """By default in the preset ``paper``: five rates of 200,000 updates each."""

    def plan(*options: str) -> str:
        command = ("evaluate", "--model", "mini-hubert", "--tasks", "ks", "--preset", "paper", "--device", "cpu")
        done = bench(*command, "--data", str(data), "--dry-run", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (step,) = json.loads(plan("--json"))
    assert (step["updates"], step["learning_rates"]) == (1_000_000, 5)
    (fixed,) = json.loads(plan("--json", "--lr", "1e-4"))
    assert (fixed["updates"], fixed["learning_rates"]) == (200_000, 1)
    assert fixed["gpu_hours"] == pytest.approx(step["gpu_hours"] / 5, rel=1e-3)
    assert "800,000 of the updates" in plan()
    assert "learning rates" not in plan("--lr", "1e-4")


@pytest.mark.parametrize("corpus", ["audio", "ks"])
def test_an_unusable_corpus_is_refused(corpus: str, data: Path, tmp_path: Path) -> None:  # noqa: F811
    text = data.read_text(encoding="utf-8")
    (tmp_path / "empty.csv").write_text("path,label,split\n")
    broken = text.replace("root: ", "root: /nowhere") if corpus == "audio" else text.replace("ks.csv", "empty.csv")
    data.write_text(broken, encoding="utf-8")
    assert ("nowhere" if corpus == "audio" else "empty.csv") in error_of(*RUN, "--data", str(data), cwd=tmp_path)


def test_embedded_corpora_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
    done = bench(*RUN, "--data", "mini", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not made yet" in done.stdout
    assert not (tmp_path / "cache").exists()
    steps = json.loads(bench(*RUN, "--data", "mini", "--json", cwd=tmp_path).stdout)
    assert [step["updates"] for step in steps] == [12, 0, None, None, None]
