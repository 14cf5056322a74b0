"""``bench pretrain --devices``: the updates of one process, resuming with another number, what is refused."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.upstream import load_upstream
from bench.workers.launched import leading
from compressors.pretraining.folder import pretrain_into

SETTINGS = [
    "accumulate_batches=4",
    "iterations.0.updates=16",
    "checkpoint_updates=3",
    "log_updates=2",
    "noise_probability=0.5",
    "shape.dropout.hidden=0.1",
    "shape.dropout.layer=0.3",
]
"""All that is random is on; checkpoints come between the rows, at updates that are no multiple of anything else."""


def _command(out: Path, data: Path, devices: int, settings: list[str]) -> list[str]:
    command = [str(Path(sys.executable).with_name("bench")), "pretrain", "--preset", "smoke", "--device", "cpu"]
    command += ["--data", str(data), "--out", str(out), "--devices", str(devices), "--json"]
    return command + [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def data(speech_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "speech.yaml"
    path.write_text(f"audio: {{layout: folder, root: {speech_folder}}}\n")
    return path


def _curve(out: Path) -> tuple[list[str], np.ndarray]:
    with (out / "training.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [f"{row[0]}/{row[1]}" for row in rows], np.array([row[2:] for row in rows], dtype=float)


class TestSameUpdates:
    @pytest.mark.slow
    @pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
    def test_killed_and_resumed_by_another_number_of_processes_the_curve_is_that_of_one(
        self, data: Path, tmp_path: Path, before: int, after: int
    ) -> None:
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        pretrain_into(whole, "smoke", str(data), SETTINGS, seed=0, device="cpu")
        process = subprocess.Popen(
            _command(killed, data, before, SETTINGS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        checkpoint = tmp_path / ".killed.work" / "iteration-1.ckpt"
        deadline = time.monotonic() + 300
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done = torch.load(checkpoint, weights_only=True)["global_step"]
        assert 0 < done < 16
        assert not killed.exists()
        resumed = subprocess.run(
            _command(killed, data, after, SETTINGS), check=True, capture_output=True, text=True, timeout=600
        )
        assert resumed.stdout.startswith("[\n")
        lines = resumed.stderr.splitlines()
        # Once, as one process speaks for all; or never, if the killed command's other process had come that far.
        assert sum(line.startswith("stage iteration-2, update 2:") for line in lines) <= 1
        assert not [line for line in lines if "warning" in line.lower() or "gloo" in line.lower()]
        (updates, figures), (expected_updates, expected) = _curve(killed), _curve(whole)
        assert updates == expected_updates
        np.testing.assert_allclose(figures, expected, rtol=1e-3, atol=1e-5)
        weights = load_upstream(killed).state_dict()
        for name, value in load_upstream(whole).state_dict().items():
            torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4, msg=name)


class TestRefusals:
    def test_batches_that_cannot_be_shared_out(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"to be a multiple of --devices 2. Found 3. Choose") as caught:
            pretrain_into(
                tmp_path / "model", "smoke", str(data), ["accumulate_batches=3"], seed=0, device="cpu", devices=2
            )
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["speech.yaml"]

    def test_more_processes_than_gpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        with leading(2, "cuda") as leads:
            assert leads
        with (
            pytest.raises(UserError, match=r"^Expected a GPU for each of --devices, 4 .* Found 2\b"),
            leading(4, "cuda"),
        ):
            pass

    def test_no_process_at_all(self, data: Path, tmp_path: Path) -> None:
        done = subprocess.run(
            _command(tmp_path / "model", data, 0, []), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: Invalid value for '--devices'")
        assert len(done.stderr.splitlines()) == 1
