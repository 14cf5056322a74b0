"""Interrupts every task and method at random moments, and checks the exit codes and the resumed results.

Usage: ``python benchmarks/interrupts.py --interrupts 300``. Each job first runs once without interruption. Then it is
started again and again and gets SIGINT or SIGTERM at a random moment, until it ends by itself. Its scores must equal
those of the uninterrupted run. Processes are forked from one that has imported everything. It takes an hour on one
core, so no test includes it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from bench import registry
from bench.cli import program
from bench.cli.interruption import EXIT_INTERRUPTED

IMPORTED = ("bench.cli.app", "bench.runs.run", "tasks.bridge.run", "compressors.training.loop", "sklearn.cluster")
LONGEST_WAIT_S = 8.0
MOST_IN_A_ROW = 10
"""Most interrupts of one job in a row. Then it may finish, as each interrupt may precede its first checkpoint."""
LONGEST_LEAVE_S = 30.0
"""A process that takes longer to end after its signal counts as hung."""
HUNG = "hung"
TOO_EARLY = 77
"""Exit code of a process that was interrupted before the program began."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)

console = Console(soft_wrap=True)


def main(
    interrupts: Annotated[int, typer.Option(help="At least so many.")] = 300,
    minutes: Annotated[float, typer.Option(help="Stop after so long, whatever is done.")] = 120.0,
    preset: Annotated[str, typer.Option(help="Of methods and tasks.")] = "smoke",
    only: Annotated[str | None, typer.Option(help="Tasks and methods, separated by commas.")] = None,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Count how interrupted processes end, and fail unless all end with 130 and lose nothing."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for module in IMPORTED:
        importlib.import_module(module)
    jobs = {job[-1]: job for job in _jobs(preset) if only is None or job[-1] in only.split(",")}
    moments = random.Random(seed)
    ends: Counter[int | str] = Counter()
    changed = []
    deadline = time.monotonic() + 60 * minutes
    # Not a TemporaryDirectory: the forked processes would remove it when they end.
    temporary = tempfile.mkdtemp()
    try:
        in_peace: dict[str, tuple[float, str]] = {}
        chains = 0
        while sum(ends.values()) < interrupts and time.monotonic() < deadline:
            for name, job in jobs.items():
                if name not in in_peace:
                    in_peace[name] = _run_in_peace(job, Path(temporary) / name)
                duration_s, expected = in_peace[name]
                folder = Path(temporary) / f"{name}-{chains}"
                codes = list(_interrupted(job, folder, moments, min(duration_s / 2, LONGEST_WAIT_S), deadline))
                ends.update(codes)
                ended = time.monotonic() < deadline
                if ended and _scores(folder) != expected:
                    changed.append(folder.name)
                console.print(f"{folder.name}: {len(codes)} interrupts, {dict(Counter(codes))}; so far {dict(ends)}")
            chains += 1
    finally:
        shutil.rmtree(temporary)
    console.print(f"{sum(ends.values())} interrupts ended with {dict(ends)}; {len(changed)} changed results: {changed}")
    raise typer.Exit(int(bool(changed) or set(ends) != {EXIT_INTERRUPTED}))


def _jobs(preset: str) -> Iterator[list[str]]:
    for task in registry.names("bench.tasks"):
        yield ["evaluate", "--model", "fbank", "--preset", preset, "--tasks", task]
    for method in registry.names("bench.compressors"):
        yield ["run", "--tasks", "ks", "--preset", preset, "--compressor", method]


def _run_in_peace(job: Sequence[str], folder: Path) -> tuple[float, str]:
    """Run a job without interruption; return its duration in seconds and its scores."""
    began = time.monotonic()
    _finish(job, folder)
    return time.monotonic() - began, _scores(folder)


def _finish(job: Sequence[str], folder: Path) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(_start(job, folder), 0)[1])
    if code:
        raise SystemExit(f"{job} ended with {code}: {_log(folder).read_text()}")


def _interrupted(
    job: Sequence[str], folder: Path, moments: random.Random, longest_wait_s: float, deadline: float
) -> Iterator[int | str]:
    """Yield how each interrupted process ended, until one ends by itself with 0."""
    count = 0
    while time.monotonic() < deadline:
        child = _start(job, folder)
        count += 1
        wait_s = moments.uniform(0.05, longest_wait_s) if count <= MOST_IN_A_ROW else deadline - time.monotonic()
        code = _await_end(child, wait_s)
        interrupt = code is None
        if interrupt:
            os.kill(child, moments.choice(SIGNALS))
            code = _await_end(child, LONGEST_LEAVE_S)
        if code is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            yield HUNG
        elif code == TOO_EARLY:
            continue
        elif interrupt and code != 0:  # 0: it was about to end
            if code != EXIT_INTERRUPTED:
                console.print(f"{folder.name} ended with {code}: {_log(folder).read_text()[-2000:]}")
            yield code
        elif code:
            yield f"{code} by itself"
            return
        else:
            return


def _start(job: Sequence[str], folder: Path) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        _work(job, folder)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return child


def _work(job: Sequence[str], folder: Path) -> NoReturn:
    code = 1
    try:
        os.setsid()
        log = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["bench", *job, "--device", "cpu", "--out", str(folder)]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        program()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        code = TOO_EARLY
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _await_end(child: int, seconds: float) -> int | None:
    """Return the exit code of a process, or None if it is still running after this time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _scores(folder: Path) -> str:
    """Return all scores in full precision."""
    return "\n".join(
        f"{path.parent.name}/{path.stem}: {json.loads(path.read_text())['scores']}"
        for path in sorted(folder.glob("cells/*/*.json"))
    )


if __name__ == "__main__":
    typer.run(main)
