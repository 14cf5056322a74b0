"""``--slurm``: what is passed on to Slurm, and what is refused."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.runs.executors.choice import read_executor
from bench.runs.executors.slurm.executor import Slurm
from bench.runs.executors.slurm.options import read_options
from bench.runs.executors.slurm.submitting import require_slurm
from tests.helpers.command_line import bench, error_of


def test_no_option_leaves_everything_but_the_time_limit_to_the_cluster() -> None:
    options = read_options(None)
    assert (options.partition, options.gpus_per_node, options.account) == (None, None, None)
    assert (options.time, options.delay_s) == (240, 120)


def test_every_key_is_read() -> None:
    options = read_options("partition=gpu, gpus_per_node=2,time=08:30:00,account=lab,array_parallelism=8,mem=32G")
    assert options.model_dump(exclude_unset=True) == {
        "partition": "gpu",
        "gpus_per_node": 2,
        "time": 510,
        "account": "lab",
        "array_parallelism": 8,
        "mem": "32G",
    }


@pytest.mark.parametrize(
    ("text", "minutes"), [("90", 90), ("00:01:00", 1), ("00:01:01", 2), ("1-00:00:00", 1440), ("100:00:00", 6000)]
)
def test_the_time_limit_is_minutes_or_a_duration(text: str, minutes: int) -> None:
    assert read_options(f"time={text}").time == minutes


@pytest.mark.parametrize(("time", "delay_s"), [("2", 30), ("4", 60), ("60", 120), ("60,signal_delay_s=600", 600)])
def test_the_signal_leaves_most_of_the_time_to_the_work(time: str, delay_s: int) -> None:
    assert read_options(f"time={time}").delay_s == delay_s


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "partition=gpu"),
        ("gpu", "'gpu'"),
        ("partition=", "'partition='"),
        ("partition=a,partition=b", "twice"),
        ("partion=gpu", "'partition'"),
        ("time=08:00", "HH:MM:SS"),
        ("time=08:61:00", "HH:MM:SS"),
        ("time=0", "time"),
        ("time=-5", "time"),
        ("time=tomorrow", "time"),
        ("time=1,signal_delay_s=60", "30 s"),
        ("gpus_per_node=a100", "gpus_per_node"),
        ("gpus_per_node=-1", "gpus_per_node"),
        ("partition=a b", "partition"),
        ("partition=--wrap", "partition"),
        ("partition=a\n#SBATCH --uid=0", "partition"),
        ("mem=32", "mem"),
        ("array_parallelism=0", "array_parallelism"),
        ("account=" + "x" * 5000, "account"),
    ],
)
def test_wrong_options_are_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(UserError) as refused:
        read_options(text)
    assert named in str(refused.value)
    assert len(str(refused.value)) <= 393


def test_cells_get_one_gpu_and_a_compression_one_for_each_device() -> None:
    options = read_options("gpus_per_node=4")
    options.require_gpus(4)
    assert options.for_one_gpu().gpus_per_node == 1
    assert read_options("gpus_per_node=0").for_one_gpu().gpus_per_node == 0
    assert read_options(None).for_one_gpu().gpus_per_node is None
    with pytest.raises(UserError, match="gpus_per_node=8"):
        options.require_gpus(8)


def test_the_option_belongs_to_one_executor() -> None:
    assert isinstance(read_executor("SLURM", "time=5"), Slurm)
    with pytest.raises(UserError, match="--executor slurm"):
        read_executor("inline", "time=5")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = builtins.__import__

    def without_submitit(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "submitit":
            raise ModuleNotFoundError("No module named 'submitit'", name="submitit")
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_submitit)
    with pytest.raises(UserError, match=r"pip install superb-bench\[slurm\]"):
        require_slurm(tmp_path)


def test_a_machine_without_slurm_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "run"
    chosen = ("--tasks", "ks", "--preset", "smoke", "--out", str(out), "--executor", "slurm")
    assert "sbatch" in error_of("run", *chosen)
    assert not out.exists()
    assert bench("run", *chosen, "--dry-run").returncode == 0
    assert "partition" in error_of("run", *chosen, "--slurm", "partion=gpu")
