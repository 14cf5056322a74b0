"""ONNX files in ``bench profile``: counted and timed like the models that they were exported from."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from bench.exports import ExportOptions, export_model
from bench.profiling import sections, workloads
from bench.testing import tiny_teacher
from bench.upstream import save_upstream
from tests.helpers.command_line import bench, error_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and its int8 ONNX file."""
    folder = tmp_path_factory.mktemp("models")
    save_upstream(tiny_teacher("hubert"), folder / "model", {})
    export_model(str(folder / "model"), "onnx", folder / "model.onnx", ExportOptions(int8=True))
    return folder


def test_counts_are_those_of_the_model(folder: Path) -> None:
    model, exported = json.loads(bench("profile", "model", "model.onnx", "--json", cwd=folder).stdout)
    assert exported["model"] == "model.onnx"
    same = {"params", "params_trainable", "params_by_part", "macs", "macs_superb", "macs_buckets"}
    assert {key: exported[key] for key in same} == {key: model[key] for key in same}
    assert exported["size_bytes"] == (folder / "model.onnx").stat().st_size


@pytest.mark.parametrize("as_teacher", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_latency_in_turn_with_the_teacher(folder: Path, monkeypatch: pytest.MonkeyPatch, as_teacher: bool) -> None:
    monkeypatch.setattr(workloads, "SUPERB_LENGTHS", {"short": (1600,)})
    monkeypatch.setattr(sections, "BATCH_SIZES", (2,))
    arguments = ["model.onnx", *(["--teacher", "model"] if not as_teacher else []), *(["model"] if as_teacher else [])]
    result = bench("profile", *arguments, "--latency", "--repeats", "5", "--device", "cpu", "--json", cwd=folder)
    found = {row["model"]: row["latency"] for row in json.loads(result.stdout)}
    exported = found["model.onnx"]["cpu"]
    assert (exported["engine"], exported["dtype"], exported["device"], exported["num_threads"]) == (
        f"onnxruntime {onnxruntime.__version__}",
        "int8",
        "cpu",
        1,
    )
    assert exported["rtf"]["median"] > 0
    assert exported["throughput"]["batch_2"]["median"] > 0
    compared = found["model" if as_teacher else "model.onnx"]["cpu"]
    assert compared["speedup"]["repeats"] == 5
    if as_teacher:
        assert (compared["engine"], compared["dtype"]) == ("torch", "float32")


def test_a_model_may_be_in_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "SUPERB_LENGTHS", {"short": (1600,)})
    monkeypatch.setattr(sections, "BATCH_SIZES", (2,))
    path = f"{folder.name}/model.onnx"
    result = bench("profile", path, "--latency", "--repeats", "1", "--device", "cpu", "--json", cwd=folder.parent)
    (found,) = json.loads(result.stdout)
    assert found["model"] == path
    assert found["latency"]["cpu"]["rtf"]["median"] > 0


def test_table_has_device_threads_and_dtype(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "SUPERB_LENGTHS", {"short": (1600,)})
    monkeypatch.setattr(sections, "BATCH_SIZES", ())
    monkeypatch.setattr(sections, "num_cores", lambda: 1)
    result = bench("profile", "model.onnx", "--latency", "--repeats", "1", "--device", "cpu", cwd=folder)
    table = result.stdout[result.stdout.index("latency at batch 1") :].splitlines()
    header = next(line for line in table if "RTF" in line)
    (row,) = (line for line in table if "model.onnx" in line)
    assert [title in header for title in ("device", "threads", "dtype")] == [True] * 3
    assert "int8" in row


def test_layers_are_not_known(folder: Path) -> None:
    assert "model.onnx" in error_of("profile", "model.onnx", "--by-layer", cwd=folder)


def test_a_missing_package_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_onnx(name: str, *rest: Any, **named: Any) -> Any:
        if name == "onnxruntime":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    line = error_of("profile", "model.onnx", cwd=folder)
    assert "onnxruntime" in line
    assert "superb-bench[onnx]" in line
