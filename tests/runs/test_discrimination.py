"""The benchmark that asks whether tasks separate good compression from bad."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

import bench
from bench.leaderboard.discrimination import COLUMNS
from bench.upstream import UpstreamModel
from benchmarks import discrimination
from benchmarks.discrimination import CHANNELS, RANDOM, SHALLOW


@pytest.fixture(scope="module")
def teacher() -> UpstreamModel:
    model = bench.load_upstream("mini-hubert")
    assert isinstance(model, UpstreamModel)
    return model


def test_a_random_transformer_keeps_the_convolutions(teacher: UpstreamModel) -> None:
    student, ours = discrimination.with_random_transformer(teacher).state_dict(), teacher.state_dict()
    kept = {key for key in ours if torch.equal(student[key], ours[key]) and ours[key].ndim > 1}
    assert kept == {key for key in ours if key.startswith("feature_") and ours[key].ndim > 1}


def test_a_quarter_of_the_layers_is_the_teachers_first(teacher: UpstreamModel) -> None:
    student = discrimination.with_a_quarter_of_the_layers(teacher)
    waveform = torch.randn(1, 8000)
    with torch.no_grad():
        (theirs, _), (ours, _) = student(waveform), teacher.eval()(waveform)
    assert len(theirs) == 4
    torch.testing.assert_close(theirs, ours[:4])


def separation(task: str, better: str, worse: str, standard_errors: float) -> dict[str, object]:
    return {"task": task, "better": better, "worse": worse, "standard_errors": standard_errors}


def test_goals() -> None:
    found = pd.DataFrame(
        [
            separation("ks", "mini-hubert", "pruned-0.9", 6.0),
            separation("er", "mini-hubert", "pruned-0.9", 4.9),
            separation("er", "mini-hubert", "pruned-0.5", 0.0),
            separation("ks", "recovered-0.75", "pruned-0.75", 2.5),
            separation("pr", "recovered-0.75", "pruned-0.75", -1.0),
            separation("er", "recovered-0.75", "pruned-0.75", 0.1),
            separation("ks", "recovered-0.9", "pruned-0.9", 0.1),
        ]
    )
    goals = discrimination.judged(found)
    assert list(zip(goals["task"], goals["met"], strict=True)) == [
        ("ks", "yes"),
        ("er", "NO"),
        ("ks", "yes"),
        ("pr", "NO"),
    ]
    verdicts = discrimination.task_verdicts(found, "mini-4-seed0", "mini-hubert")
    assert tuple(verdicts.columns) == COLUMNS
    assert list(verdicts["task"]) == ["ks", "er"]


@pytest.mark.slow
def test_smoke(embedded_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"teacher": "mini-hubert", "tasks": "ks", "compressions": 1, "preset": "smoke", "executor": "inline"}
    for _ in range(2):
        discrimination.main(tmp_path / "run", data=str(embedded_data), **options)
    printed = capsys.readouterr().out
    found = pd.read_csv(tmp_path / "run" / "discrimination.csv")
    assert len(found) == 12
    students = set(found[found["better"] == "mini-hubert"]["worse"])
    (channels,) = (student for student in students if student.startswith(CHANNELS))
    assert students == {
        *(f"{name}-{sparsity}" for name in ("pruned", "recovered") for sparsity in (0.5, 0.75, 0.9)),
        *(RANDOM, SHALLOW, channels),
    }
    assert "| ks |" in printed
    assert list(pd.read_csv(tmp_path / "run" / "tasks.csv")["task"]) == ["ks"]
