"""Compressors that learn with a task's loss get it from the run's data, whatever tasks the run evaluates."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.runs import checks
from bench.runs.compress import compress_into
from bench.runs.run import Run
from bench.runs.single import run_item
from bench.upstream.checkpoint import read_manifest
from tests.helpers.tiny_runs import config_of, write_data, write_teacher

QUICK = ("checkpoint_updates=50", "task_loss=ks", "sparsity=0.5")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def _config(data: Path, tmp_path: Path, *assignments: str, **options: str | None):
    teacher = write_teacher(tmp_path / "teacher")
    return config_of(data, *QUICK, *assignments, compressors="dphubert", teacher=str(teacher), **options)


def test_the_corpus_is_there_without_the_task(data: Path, tmp_path: Path) -> None:
    config = _config(data, tmp_path, tasks=None)
    assert not config.tasks
    losses = checks.task_losses(config, "dphubert")
    assert [loss.task for loss in losses.values()] == ["ks"]
    assert len(losses["ks"].utterances) == 12


def test_a_model_is_made_and_knows_its_labels(data: Path, tmp_path: Path) -> None:
    config = _config(data, tmp_path, tasks=None)
    (row,) = compress_into(config, "dphubert", tmp_path / "model", "cpu")
    assert row["sparsity"] == pytest.approx(0.5, abs=0.01)
    provenance = read_manifest(tmp_path / "model").provenance
    assert provenance["recipe"]["task_loss"] == "ks"
    assert set(provenance["learned_data_sha256"]) == {"ks"}
    assert (tmp_path / "model" / "task_head.safetensors").is_file()


@pytest.mark.parametrize("tasks", [None, "ks"])
def test_items_that_are_done_one_by_one_learn_too(data: Path, tmp_path: Path, tasks: str | None) -> None:
    begun = Run(_config(data, tmp_path, tasks=tasks), tmp_path / "run", "cpu").begin()
    for item in begun.work.items():
        assert run_item(tmp_path / "run", item.label, "cpu").kind == "done"


@pytest.mark.parametrize(("task", "named"), [("kss", "'ks'"), ("asr", "tasks.asr"), ("asv", "tasks.asv")])
def test_a_task_without_a_corpus_is_refused(data: Path, tmp_path: Path, task: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        _config(data, tmp_path, f"dphubert.task_loss={task}", tasks=None)
