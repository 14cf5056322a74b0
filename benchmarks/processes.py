"""Times a sweep in one process and in several: ``--executor processes:N``.

Usage: ``python benchmarks/processes.py``. Both do the same sweep in the same turn, each with an empty feature cache and
one thread per process. The ratio of their shortest times is compared with the goal. The machine should be idle: with N
processes on fewer than N free cores there is nothing to gain. The CPU times say how much work each way is in all.
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

GOAL = 0.65
SWEEP = "--compressor dphubert,prune-only --sparsity 0.5,0.75 --seeds 0 --tasks ks --budget preset --device cpu"


def main(
    processes: Annotated[int, typer.Option(help="How many.")] = 2,
    tries: Annotated[int, typer.Option(help="Turns, of which the shortest times count.")] = 3,
    preset: Annotated[str, typer.Option(help="Of compressors and tasks.")] = "smoke",
    sets: Annotated[str, typer.Option(help="Further settings, separated by blanks, as those of --set.")] = "",
    corpora: Annotated[Path | None, typer.Option(help="Cache folder whose embedded corpora are used.")] = None,
) -> None:
    """Print both times of every turn, the load before it, and the ratio of the shortest ones."""
    console = Console(soft_wrap=True)
    executors = {"inline": "inline", "processes": f"processes:{processes}"}
    times: dict[str, list[float]] = {name: [] for name in executors}
    cpu_times: dict[str, float] = {}
    options = [*SWEEP.split(), "--preset", preset, *(f"--set={each}" for each in sets.split())]
    for _ in range(tries):
        load = os.getloadavg()[0]
        for name, executor in executors.items():
            cpu_s = _children_cpu_s()
            times[name].append(_seconds([*options, "--executor", executor], corpora))
            cpu_times[name] = _children_cpu_s() - cpu_s
        shown = ", ".join(f"{name} {times[name][-1]:.1f} s ({cpu_times[name]:.1f} s of CPU)" for name in executors)
        console.print(f"{shown}; load before: {load:.1f}")
    ratio = min(times["processes"]) / min(times["inline"])
    console.print(f"ratio {ratio:.2f} (goal: {GOAL} or less) on {os.cpu_count()} cores")
    raise typer.Exit(int(ratio > GOAL))


def _seconds(options: list[str], corpora: Path | None) -> float:
    """Time one sweep in a new folder, with a cache that has corpora only."""
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary) / "cache"
        cache.mkdir()
        for folder in corpora.glob("mini*") if corpora else ():
            (cache / folder.name).symlink_to(folder.resolve())
        environment = {**os.environ, "SUPERB_BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "superb_bench", "sweep", *options, "--out", f"{temporary}/run", "-q"]
        begun = time.monotonic()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    typer.run(main)
