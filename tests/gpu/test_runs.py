"""Whole commands on the device, in the preset smoke: every compressor, every task in both protocols, resuming."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import registry
from bench.profiling.sections import measure_section, sections
from bench.profiling.workloads import Effort
from bench.runs.status import status_of
from bench.testing import tiny_teacher
from bench.upstream import FbankUpstream, load_upstream
from bench.upstream.checkpoint import read_manifest
from tests.helpers.command_line import bench, bench_process
from tests.helpers.interrupting import end_when
from tests.helpers.small_training import history_rows
from tests.helpers.tiny_runs import QUICK, write_data, write_teacher

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

NOTHING_RANDOM = [
    f"tasks.asr.{each}" for each in ("dropout=0", *(f"spec_augment.max_{of}_mask=1" for of in ("time", "frequency")))
]
"""Settings of ASR without dropout, and with masks of no width: a GPU draws other numbers than a CPU."""
TRAINING = [name for name in registry.names("bench.compressors") if name != "int8"]


def settings(*values: str) -> list[str]:
    return [f"--set={value}" for value in values]


def succeed(*words: str) -> str:
    done = bench(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def record(out: Path, cell: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "cells" / f"{cell}.json").read_text())
    return found


def assert_scored(out: Path, cell: str, device: str) -> None:
    found = record(out, cell)
    scores = [score for split in found["scores"].values() for score in split.values()]
    assert scores
    assert all(math.isfinite(score) for score in scores)
    folds = found["settings"].get("folds")
    for trained in folds.values() if isinstance(folds, dict) else [found["settings"]]:
        assert trained["arguments"]["device"] == device


class TestCompressors:
    def compress(self, name: str, out: Path, data: Path, device: str, *changes: str) -> dict[str, Any]:
        words = ["compress", "--compressor", name, "--preset", "smoke", "--data", str(data), "--device", device]
        succeed(*words, "--out", str(out), *settings(*changes))
        states, _ = load_upstream(out)(torch.randn(1, 16_000), torch.tensor([16_000]))
        assert all(state.isfinite().all() for state in states)
        return read_manifest(out).provenance

    @pytest.mark.parametrize("name", registry.names("bench.compressors"))
    def test_smoke(self, name: str, all_data: Path, device: str, tmp_path: Path) -> None:
        provenance = self.compress(name, tmp_path / "model", all_data, device)
        if name in TRAINING:
            assert provenance["numerics"]["device"] == device

    @pytest.mark.parametrize("name", TRAINING)
    def test_as_in_the_paper(self, name: str, all_data: Path, device: str, tmp_path: Path) -> None:
        """Mixed precision, accumulated batches and workers that read audio, as every preset ``paper`` has."""
        changes = ["precision=auto", "accumulate_batches=2", "num_workers=2"]
        provenance = self.compress(name, tmp_path / "model", all_data, device, *changes)
        if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
            assert provenance["numerics"]["precision"] == "bf16"

    @pytest.mark.parametrize(
        "changes", [["objective=both", "schedule=auto"], ["shrink=true"], ["target=macs"]], ids=str
    )
    def test_variants_of_dphubert(self, changes: list[str], all_data: Path, device: str, tmp_path: Path) -> None:
        self.compress("dphubert", tmp_path / "model", all_data, device, *changes)

    def test_fp16(self, all_data: Path, device: str, tmp_path: Path) -> None:
        precision = "fp16" if device == "cuda" else "fp32"
        provenance = self.compress("dphubert", tmp_path / "model", all_data, device, f"precision={precision}")
        assert provenance["numerics"]["precision"] == precision

    def test_a_stack(self, all_data: Path, device: str, tmp_path: Path) -> None:
        self.compress("dphubert+low-rank+int8", tmp_path / "model", all_data, device)


class TestTasks:
    @pytest.mark.parametrize("protocol", ["cached", "s3prl"])
    @pytest.mark.parametrize("task", registry.names("bench.tasks"))
    def test_smoke(self, task: str, protocol: str, all_data: Path, device: str, tmp_path: Path) -> None:
        words = ["evaluate", "--model", "mini-hubert", "--tasks", task, "--preset", "smoke", "--data", str(all_data)]
        succeed(*words, "--protocol", protocol, "--device", device, "--out", str(tmp_path / "run"))
        assert_scored(tmp_path / "run", f"mini-hubert/{task}-seed0", device)

    @pytest.mark.parametrize("changes", [["frame_cache=disk"], ["frame_cache=none", "feature_precision=bf16"]], ids=str)
    def test_frames(self, changes: list[str], all_data: Path, device: str, tmp_path: Path) -> None:
        words = ["evaluate", "--model", "mini-hubert", "--tasks", "asr", "--preset", "smoke", "--data", str(all_data)]
        words += settings(*(f"tasks.asr.{each}" for each in changes))
        succeed(*words, "--protocol", "cached", "--device", device, "--out", str(tmp_path / "run"))
        assert_scored(tmp_path / "run", "mini-hubert/asr-seed0", device)

    def test_int8_and_filter_banks(self, all_data: Path, device: str, tmp_path: Path) -> None:
        words = ["run", "--compressor", "int8", "--baseline", "fbank", "--tasks", "ks", "--preset", "smoke"]
        succeed(*words, "--data", str(all_data), "--device", device, "--out", str(tmp_path / "run"))
        for row in ("mini-hubert", "int8", "fbank"):
            assert_scored(tmp_path / "run", f"{row}/ks-seed0", device)

    @pytest.mark.parametrize("task", ["ks", "asr"])
    def test_the_loss_is_that_of_the_cpu(self, task: str, all_data: Path, device: str, tmp_path: Path) -> None:
        losses = []
        for where in ("cpu", device):
            out = tmp_path / f"run-{len(losses)}"
            words = ["evaluate", "--model", "mini-hubert", "--tasks", task, "--preset", "smoke", "--out", str(out)]
            words += settings(*NOTHING_RANDOM) if task == "asr" else []
            succeed(*words, "--data", str(all_data), "--device", where, "--protocol", "cached")
            losses.append(record(out, f"mini-hubert/{task}-seed0")["settings"]["loss"]["test"])
        assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_features_are_those_of_the_cpu(speech_folder: Path, device: str, tmp_path: Path) -> None:
    audio = [str(path) for path in sorted(speech_folder.glob("*.wav"))]
    for where in {"cpu", device}:
        succeed("features", "mini-hubert", *audio, "--out", str(tmp_path / f"{where}.npz"), "--device", where)
    found, expected = (np.load(tmp_path / f"{where}.npz") for where in (device, "cpu"))
    assert found.files == expected.files
    for name in expected.files:
        assert np.linalg.norm(found[name] - expected[name]) < 0.02 * np.linalg.norm(expected[name])


def test_pretraining(all_data: Path, device: str, tmp_path: Path) -> None:
    words = ["pretrain", "--preset", "smoke", "--data", str(all_data), "--device", device, "--set", "precision=auto"]
    rows = json.loads(succeed(*words, "--out", str(tmp_path / "model"), "--json"))
    assert {row["iteration"] for row in rows} == {"iteration-1", "iteration-2"}
    assert read_manifest(tmp_path / "model").provenance["numerics"]["device"] == device


def test_latency(device: str) -> None:
    section = sections(use_gpu=device == "cuda")["gpu" if device == "cuda" else "cpu"]
    plain, fbank = measure_section([tiny_teacher(), FbankUpstream()], section, Effort(repeats=1))
    assert plain.device == fbank.device == device
    assert (plain.peak_memory_bytes is None) == (device == "cpu")


KILLED_AT = {
    "stage 1": "work/compress/dphubert/joint.ckpt",
    "stage 2": "work/compress/dphubert/final.ckpt",
    "ASR training": "work/cells/dphubert/asr-seed0/**/step_*/manifest.json",
}
SLOWER = ("checkpoint_updates=1", "final.updates=12", "tasks.asr.total_steps=40", "tasks.asr.save_interval_steps=5")
"""So long that a kill hits the part even on a fast GPU."""


def test_a_killed_run_goes_on(all_data: Path, device: str, tmp_path: Path) -> None:
    words = ["run", "--compressor", "dphubert", "--tasks", "asr", "--preset", "smoke", "--data", str(all_data)]
    words += ["--device", device, *settings(*SLOWER, *NOTHING_RANDOM)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    succeed(*words, "--out", str(whole))
    for part, pattern in KILLED_AT.items():
        command = [*words, "--out", str(killed)]
        end_when(command, lambda pattern=pattern: any(killed.glob(pattern)), part, signal.SIGKILL)
    succeed(*words, "--out", str(killed))
    curves = [history_rows(out / "models" / "dphubert" / "training.csv") for out in (killed, whole)]
    assert [(row["stage"], row["update"]) for row in curves[0]] == [(row["stage"], row["update"]) for row in curves[1]]
    # A GPU adds numbers up in an order that differs from call to call.
    found, expected = (np.array([float(row["loss"]) for row in curve]) for curve in curves)
    np.testing.assert_allclose(found, expected, rtol=0.05)
    losses = [record(out, "dphubert/asr-seed0")["settings"]["loss"]["test"] for out in (killed, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_processes_share_a_sweep(device: str, tmp_path: Path) -> None:
    count = min(2, torch.cuda.device_count()) if device == "cuda" else 2
    quick = (*(f"tasks.ks.{each}" for each in QUICK), "importance=l2", "recovery=null")
    words = ["sweep", "--compressor", "prune-only", "--sparsity", "0.2,0.3", "--seeds", "0", "--tasks", "ks"]
    words += ["--teacher", str(write_teacher(tmp_path / "teacher")), "--data", str(write_data(tmp_path / "data"))]
    words += ["--preset", "smoke", "--budget", "preset", "--device", device, *settings(*quick)]
    done = bench_process(*words, "--executor", f"processes:{count}", "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert {state.kind for state in status_of(tmp_path / "run").values()} == {"done"}
    assert_scored(tmp_path / "run", "prune-only-0.3/ks-seed0", device)
