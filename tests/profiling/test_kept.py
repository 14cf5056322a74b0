"""What of a run's latency need not be measured again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.profiling.kept import kept_records
from bench.profiling.machine import this_machine
from bench.profiling.subjects import Subject
from bench.profiling.workloads import Effort
from bench.store.latency import latency_path, write_latency
from bench.testing import tiny_teacher
from bench.upstream import save_upstream
from bench.upstream.reduction import quantised
from tests.helpers.latency import record, timing

EFFORT = Effort(repeats=3)


@pytest.fixture
def student(tmp_path: Path) -> Subject:
    """A model whose latency was measured on this machine after it was made."""
    model = tmp_path / "models" / "a"
    save_upstream(tiny_teacher(), model, {})
    measured = record("a", "a", timing(0.1)).model_copy(
        update={
            "machine": this_machine(),
            "lengths_samples": dict(EFFORT.lengths()),
            "repeats": 3,
            "teacher": "mini-hubert",
        }
    )
    write_latency(tmp_path, measured)
    os.utime(model / "config.json", (0, 0))
    return Subject(str(model), "a", "a", "mini-hubert")


def test_the_same_again_is_kept(student: Subject, tmp_path: Path) -> None:
    assert list(kept_records(tmp_path, [student], EFFORT, use_gpu=False)) == ["a"]


@pytest.mark.parametrize(
    ("effort", "use_gpu"),
    [(Effort(), False), (Effort(repeats=5), False), (Effort(repeats=3, every_length=True), False), (EFFORT, True)],
)
def test_other_settings_are_measured(student: Subject, tmp_path: Path, effort: Effort, use_gpu: bool) -> None:
    assert not kept_records(tmp_path, [student], effort, use_gpu=use_gpu)


@pytest.mark.parametrize(("repeats", "is_kept"), [(1, False), (4, False), (5, True), (7, True)])
def test_figures_of_few_repeats_are_measured_again(
    student: Subject, tmp_path: Path, repeats: int, is_kept: bool
) -> None:
    (found,) = kept_records(tmp_path, [student], EFFORT, use_gpu=False).values()
    rtf = found.cpu.rtf.model_copy(update={"repeats": repeats})
    cpu = found.cpu.model_copy(update={"rtf": rtf})
    write_latency(tmp_path, found.model_copy(update={"repeats": None, "cpu": cpu}))
    assert bool(kept_records(tmp_path, [student], Effort(), use_gpu=False)) is is_kept


def test_a_gpus_figures_are_not_missed_of_what_runs_on_the_cpu_alone(student: Subject, tmp_path: Path) -> None:
    folder = Path(student.reference)
    shutil.rmtree(folder)
    save_upstream(quantised(tiny_teacher(), ["layers.0.attention.q_proj"]), folder, {})
    os.utime(folder / "config.json", (0, 0))
    assert kept_records(tmp_path, [student], EFFORT, use_gpu=True)


@pytest.mark.parametrize(
    "change", [{"teacher": "hubert_base"}, {"machine": this_machine().model_copy(update={"cpu": "another"})}]
)
def test_another_teacher_or_machine_is_measured(student: Subject, tmp_path: Path, change: dict[str, Any]) -> None:
    (found,) = kept_records(tmp_path, [student], EFFORT, use_gpu=False).values()
    write_latency(tmp_path, found.model_copy(update=change))
    assert not kept_records(tmp_path, [student], EFFORT, use_gpu=False)


def test_a_model_made_since_is_measured(student: Subject, tmp_path: Path) -> None:
    os.utime(latency_path(tmp_path, "a"), (0, 0))
    os.utime(Path(student.reference) / "config.json", (1, 1))
    assert not kept_records(tmp_path, [student], EFFORT, use_gpu=False)
