"""Models that run on the CPU alone, where a GPU is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.config.run import Choice, RunConfig, resolve
from bench.errors import UserError
from bench.profiling import latency
from bench.profiling.subjects import Subject
from bench.profiling.workloads import Effort
from bench.runs.checks import check_kernels
from bench.runs.evaluate import LoadedModels
from bench.runs.work import references
from bench.store.run_folder import RunFolder
from bench.testing import tiny_teacher
from bench.upstream import save_upstream
from bench.upstream.reduction import quantised


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save_upstream(quantised(tiny_teacher(), ["layers.0.attention.q_proj"]), tmp_path / "small", {})
    return tmp_path / "small"


@pytest.fixture
def config(small: Path) -> RunConfig:
    names = (str(small), "mini-hubert", "fbank")
    return resolve(Choice(references=names, tasks=("ks",)))


def test_runs_evaluate_all_models_on_the_device_of_the_run(config: RunConfig, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for device in ("cuda", "cpu"):
        models = LoadedModels(config, folder, device)  # type: ignore[arg-type]
        assert [models.load(model).device for model in references(config)] == [device] * 3


def test_a_build_without_int8_kernels_is_told_before_any_work(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_kernels(config)
    monkeypatch.setattr("torch._C._get_qengine", lambda: 0)  # What such a build has.
    with pytest.raises(UserError, match=r"^small: int8 linear layers need torch's quantised kernels"):
        check_kernels(config)


def test_latency_on_a_gpu_leaves_them_out(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[Any] = []
    monkeypatch.setattr(
        latency, "measure_section", lambda _models, section, _effort: timed.append(section) or [section]
    )
    found = {
        name: latency._timings(subject, Effort(repeats=1), use_gpu=True)
        for name, subject in {
            "plain": Subject("fbank", "plain", "plain"),
            "int8": Subject(str(small), "int8", "int8"),
            "int8 teacher": Subject("fbank", "plain", "plain", teacher=str(small)),
        }.items()
    }
    assert {name: "gpu" in timings for name, timings in found.items()} == {
        "plain": True,
        "int8": False,
        "int8 teacher": False,
    }
    assert all("cpu" in timings for timings in found.values())
