"""Time all tasks on the embedded corpora: with an empty feature cache, and again with a full one.

Usage: ``python benchmarks/all_tasks_speed.py --data DIR/data.yaml``, where DIR was made by ``bench data synth DIR``.
It takes half an hour on two free cores, so ``tox -e bench`` does not include it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

LONGEST_S = {"from nothing": 15 * 60, "warm": 8 * 60}


def main(
    data: Annotated[Path, typer.Option(help="YAML file of the embedded corpora.")],
    model: Annotated[str, typer.Option(help="A model reference.")] = "random:mini-hubert",
    tasks: Annotated[str, typer.Option(help="Which tasks, separated by commas.")] = "asr,ks,sid,er,ic,sf",
    preset: Annotated[str, typer.Option(help="Of the tasks.")] = "mini",
    processes: Annotated[int, typer.Option(help="Side by side in one run's folder, one thread each.")] = 2,
) -> None:
    """Evaluate one model on all tasks twice, and compare the times with their limits."""
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory() as temporary:
        environment = {**os.environ, "SUPERB_BENCH_CACHE": f"{temporary}/cache", "OMP_NUM_THREADS": "1"}
        for name, longest_s in LONGEST_S.items():
            command = ["evaluate", "--model", model, "--tasks", tasks, "--data", str(data), "--preset", preset]
            command += ["--out", f"{temporary}/{name}", "--device", "cpu"]
            begun, cpu_s = time.monotonic(), _children_cpu_s()
            _run([sys.executable, "-c", "from bench.cli import main; main()", *command], environment, processes)
            wall_s, cpu_s = time.monotonic() - begun, _children_cpu_s() - cpu_s
            verdict = "in time" if wall_s <= longest_s else f"longer than {longest_s / 60:.0f} min"
            console.print(f"{name}: {wall_s / 60:.1f} min, {cpu_s / 60:.1f} min of CPU time ({verdict})")


def _run(command: list[str], environment: dict[str, str], processes: int) -> None:
    started = []
    for _ in range(processes):
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    failed = [process.args for process in started if process.wait()]
    if failed:
        raise SystemExit(f"Failed: {failed[0]}")


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    typer.run(main)
