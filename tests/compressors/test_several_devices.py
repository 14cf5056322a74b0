"""Training in two processes: the same updates as in one, whatever the method; resuming with another number."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts import AudioSource, Compressor, Context
from bench.errors import UserError
from bench.stopping import STOP_SIGNAL
from bench.upstream import UpstreamModel, load_folder
from bench.upstream.checkpoint import read_manifest
from bench.workers.launched import leading
from compressors.distill_only import DistillOnly, DistillOnlyConfig
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import DPHuBERTConfig
from compressors.low_rank.compressor import LowRank
from compressors.low_rank.config import LowRankConfig
from compressors.masked_distill import MaskedDistill, MaskedDistillConfig
from compressors.prune_only.compressor import PruneOnly
from compressors.prune_only.config import PruneOnlyConfig
from compressors.settings import StageConfig
from compressors.training.checkpoints import read_checkpoint
from tests.helpers.command_line import bench
from tests.helpers.method_checks import tiny_teacher

Command = Callable[..., "subprocess.Popen[str]"]

STAGE = StageConfig(updates=6, warmup_updates=1, learning_rate=1e-3)
SHARED: dict[str, Any] = {
    "sparsity": 0.5,
    "seconds_per_batch": 3.0,
    "max_duration_s": 1.5,
    "accumulate_batches": 2,
    "checkpoint_updates": 2,
    "log_updates": 2,
}

DPHUBERT = DPHuBERT(DPHuBERTConfig(joint=STAGE, final=STAGE, sparsity_warmup_updates=2, schedule="auto", **SHARED))
DISTILL_ONLY = DistillOnly(DistillOnlyConfig(distillation=STAGE, **SHARED))
PRUNE_ONLY = PruneOnly(
    PruneOnlyConfig(head=STAGE, recovery=STAGE, importance="taylor", taylor_batches=2, num_clusters=8, **SHARED)
)

LOW_RANK = LowRank(LowRankConfig(recovery=STAGE, whiten_batches=2, **SHARED))
MASKED_DISTILL = MaskedDistill(MaskedDistillConfig(prediction=STAGE, num_clusters=8, **SHARED))


@pytest.fixture
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


def _curve(workdir: Path, name: str) -> tuple[list[str], np.ndarray]:
    with (workdir / "beside" / name / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = [[float(value or 0) for key, value in row.items() if key != "stage"] for row in rows]
    return [row["stage"] for row in rows], np.array(figures)


def _assert_same(model: UpstreamModel, expected: UpstreamModel) -> None:
    assert model.config == expected.config
    weights = model.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5, msg=name)


class TestTheSameUpdates:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "compressor", [DPHUBERT, DISTILL_ONLY, PRUNE_ONLY, LOW_RANK, MASKED_DISTILL], ids=lambda each: each.name
    )
    def test_two_processes_make_the_model_and_the_history_of_one(
        self, audio: AudioSource, tmp_path: Path, compressor: Compressor
    ) -> None:
        one = compressor.compress(tiny_teacher(), audio, tmp_path / "one", Context())
        two = compressor.compress(tiny_teacher(), audio, tmp_path / "two", Context(devices=2))
        assert list(two) == list(one)
        stages, expected = _curve(tmp_path / "one", compressor.name)
        found_stages, found = _curve(tmp_path / "two", compressor.name)
        assert found_stages == stages
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        for name, model in one.items():
            _assert_same(two[name], model)


@pytest.fixture
def command(speech_folder: Path, tmp_path: Path) -> Command:
    """Start ``bench compress`` on real files; its checkpoints come every 2 of 60 updates."""
    data = tmp_path / "speech.yaml"
    data.write_text(f"audio: {{layout: folder, root: {speech_folder}}}\n")
    settings = ["accumulate_batches=2", "checkpoint_updates=2", "distillation.updates=60", "log_updates=10"]

    def start(out: str, devices: int, *launcher: str) -> subprocess.Popen[str]:
        words = [*launcher, str(Path(sys.executable).with_name("bench")), "compress", "--compressor", "distill-only"]
        words += ["--preset", "smoke", "--device", "cpu", "--data", str(data), "--out", str(tmp_path / out)]
        words += ["--devices", str(devices), *(word for setting in settings for word in ("--set", setting))]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def _finish(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    out, errors = process.communicate(timeout=500)
    return out, errors.splitlines()


def _await_update(checkpoint: Path, update: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not (checkpoint.exists() and read_checkpoint(checkpoint)["global_step"] >= update):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    """Return the training processes that a process has started."""
    found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for each in found if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


@pytest.mark.slow
class TestCommands:
    def test_a_killed_process_ends_all_and_any_number_of_devices_resumes(
        self, command: Command, tmp_path: Path
    ) -> None:
        checkpoint = tmp_path / ".resumed.work" / "distillation.ckpt"
        killed = command("resumed", 2)
        _await_update(checkpoint, 2, killed)
        members = _children(killed.pid)
        assert len(members) == 2
        os.kill(members[1], signal.SIGKILL)
        _, errors = _finish(killed)
        assert killed.returncode == 2
        assert "SIGKILL" in errors[-1]
        assert sum(line.startswith("error:") for line in errors) == 1
        assert not any(Path(f"/proc/{each}").exists() for each in members)

        reached = read_checkpoint(checkpoint)["global_step"]
        alone = command("resumed", 1)
        _await_update(checkpoint, reached + 2, alone)
        alone.kill()
        alone.wait()
        assert not (tmp_path / "resumed").exists()

        stopped = command("resumed", 2)
        _await_update(checkpoint, read_checkpoint(checkpoint)["global_step"] + 2, stopped)
        stopped.send_signal(STOP_SIGNAL)
        _finish(stopped)
        assert stopped.returncode == 130
        assert read_checkpoint(checkpoint)["global_step"] < 60

        _finish(command("resumed", 2))
        _finish(command("whole", 1))
        _assert_same(load_folder(tmp_path / "resumed"), load_folder(tmp_path / "whole"))
        assert read_manifest(tmp_path / "resumed").provenance["numerics"]["devices"] == 2
        # The very model, whatever the number of devices.
        out, errors = _finish(command("resumed", 1))
        assert str(tmp_path / "resumed") in out
        assert not [line for line in errors if "stage" in line or "error" in line]

    def test_processes_of_two_machines_train_together(self, command: Command, tmp_path: Path) -> None:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        torchrun += ["--master-addr", "127.0.0.1", "--master-port", str(_free_port()), "--no-python", "--node-rank"]
        nodes = [command("together", 2, *torchrun, str(number)) for number in range(2)]
        (out, errors), (silence, others) = [_finish(node) for node in nodes]
        assert [node.returncode for node in nodes] == [0, 0], (errors, others)
        assert str(tmp_path / "together") in out
        assert silence == ""
        assert sum("update 60:" in line for line in errors) == 1
        assert not [line for line in others if "stage" in line]
        _finish(command("whole", 1))
        _assert_same(load_folder(tmp_path / "together"), load_folder(tmp_path / "whole"))


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


class TestRefusals:
    def test_batches_that_cannot_be_shared_out(self, audio: AudioSource) -> None:
        with pytest.raises(UserError, match=r"accumulate_batches\b.* --devices 3\b.* Found 2\b") as caught:
            DISTILL_ONLY.check(tiny_teacher(), audio, Context(devices=3))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("check", ["check", "check_ahead"])
    def test_students_that_shrink(self, audio: AudioSource, check: str) -> None:
        shrinking = DPHuBERT(DPHUBERT.config.model_copy(update={"shrink": True}))
        getattr(shrinking, check)(tiny_teacher(), audio, Context())
        with pytest.raises(UserError, match=r"shrink=true and --devices 2\b"):
            getattr(shrinking, check)(tiny_teacher(), audio, Context(devices=2))

    @pytest.mark.parametrize(
        "words",
        [["int8"], ["low-rank", "--set", "recovery=null"], ["int8,low-rank", "--set", "low-rank.recovery=null"]],
    )
    def test_nothing_that_trains(self, words: list[str], tmp_path: Path) -> None:
        done = bench(
            "run", "--tasks", "ks", "--dry-run", "--devices", "2", "--out", str(tmp_path), "--compressor", *words
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: Expected a compressor that trains")
        assert "--devices 2" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_a_row_that_trains_is_enough(self, tmp_path: Path) -> None:
        rows = ["--compressor", "int8,dphubert+int8"]
        done = bench("run", "--tasks", "ks", "--dry-run", "--devices", "2", "--out", str(tmp_path), *rows)
        assert done.returncode == 0

    def test_another_number_of_processes_than_was_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=r"^Expected --devices 4\b.* Found --devices 2\b"), leading(2, "cpu"):
            pass

    @pytest.mark.parametrize(
        "variables",
        [
            {"SLURM_STEP_NUM_TASKS": "many"},
            {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"},
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "first"},
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"},
            {"TORCHELASTIC_RUN_ID": "x"},
        ],
    )
    def test_wrong_environment_variables(self, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match="environment variables of torchrun or srun"), leading(2, "cpu"):
            pass

    def test_tasks_of_srun_that_were_not_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch script sees the number of its tasks too, but srun has started none of them yet."""
        monkeypatch.setenv("SLURM_NTASKS", "4")
        monkeypatch.setenv("SLURM_PROCID", "0")
        with leading(2, "cpu") as leads:
            assert leads
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
        monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
        with leading(1, "cpu") as leads:
            assert leads
        with pytest.raises(UserError, match=r"^Expected --devices 4\b.* Found --devices 2\b"), leading(2, "cpu"):
            pass
