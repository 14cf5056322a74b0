"""``--lr`` and ``--folds``: settings of every chosen task that has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.choices import resolved_run, run_folder
from bench.config.run import RunConfig
from bench.errors import UserError


def resolved(tasks: str, lr: str | None = None, folds: str | None = None, *assignments: str) -> RunConfig:
    return resolved_run(models="fbank", tasks=tasks, preset="mini", lr=lr, folds=folds, assignments=assignments)


@pytest.mark.parametrize(("lr", "rate"), [("auto", "auto"), ("1e-4", 1e-4), ("0.05", 0.05), ("3E-7", 3e-7)])
def test_a_learning_rate_for_all_tasks(lr: str, rate: str | float) -> None:
    tasks = resolved("ks,er,sf", lr).tasks
    assert {name: settings["learning_rate"] for name, settings in tasks.items()} == dict.fromkeys(tasks, rate)


def test_folds_go_to_the_task_that_has_some() -> None:
    tasks = resolved("er,ks", folds="0,3").tasks
    assert tasks["er"]["folds"] == [0, 3]
    assert "folds" not in tasks["ks"]


@pytest.mark.parametrize(
    ("tasks", "lr", "folds", "told"),
    [
        ("ks", "fast", None, "auto or a positive number .*--lr. Found 'fast'"),
        ("ks", "-1", None, "--lr"),
        ("ks", "nan", None, "--lr"),
        ("ks,sf", None, "0", r"--folds: none of the chosen tasks \(ks, sf\) has folds"),
        ("er", None, "first", "whole numbers .* in --folds"),
        ("er", None, "5", "task er: folds.*found 5"),
    ],
)
def test_what_cannot_be_meant(tasks: str, lr: str | None, folds: str | None, told: str) -> None:
    with pytest.raises(UserError, match=told):
        resolved(tasks, lr, folds)


def test_contradictions_are_refused() -> None:
    with pytest.raises(UserError, match=r"tasks\.ks\.learning_rate and --lr"):
        resolved("ks", "auto", None, "tasks.ks.learning_rate=1e-3")


def test_a_further_task_finds_the_runs_folder() -> None:
    def folder(tasks: str, lr: str | None) -> Path:
        return run_folder(None, resolved(tasks, lr), [], lr=lr, folds=None)

    assert folder("ks", "auto") == folder("ks,er", "auto")
    assert folder("ks", "auto") != folder("ks", None)
