"""Several processes share the items of one run: nothing is done twice, nobody idles, and kills lose nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.config.run import RunConfig
from bench.errors import UserError
from bench.runs import worker
from bench.runs.run import Run
from bench.runs.status import status_of
from bench.store.claims import claimed
from bench.store.holders import holder_of
from tests.helpers.tiny_runs import config_of, write_data, write_teacher

START = multiprocessing.get_context("fork")
SECONDS = 0.2
"""What every item takes longer than it would."""
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A sweep of four compressions, whose cells and the teacher's are six."""
    folder = tmp_path_factory.mktemp("given")
    settings = ("importance=l2", "recovery=null")
    sweep = {"compressors": "prune-only", "sparsities": "0.2,0.3", "training_budget": "preset", "seeds": "0,1"}
    teacher = write_teacher(folder / "teacher")
    return config_of(write_data(folder / "data"), *settings, teacher=str(teacher), **sweep)


class Processes:
    """Processes that work on one run, and note in a file what they do."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config = config
        self.out = folder / "run"
        self.done = folder / "done.jsonl"
        self.failures = folder / "failures.jsonl"
        self.running: list[Any] = []

    def start(self, count: int, fails: str = "", hangs_in: str = "", meet: bool = False) -> None:
        """Start processes.

        Args:
            count: how many.
            fails: the compression that fails.
            hangs_in: the compression that these processes do not end.
            meet: every process waits in its first compression until all are in one.
        """
        barrier = START.Barrier(count if meet else 1)
        for _ in range(count):
            process = START.Process(target=self._work, args=(fails, hangs_in, barrier))
            process.start()
            self.running.append(process)

    def end(self) -> list[int | None]:
        """Wait for all processes; return their exit codes."""
        for process in self.running:
            process.join(DEADLINE_S)
            if process.is_alive():
                process.kill()
        return [process.exitcode for process in self.running]

    def noted(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.done.read_text().splitlines()]

    def _work(self, fails: str, hangs_in: str, barrier: Any) -> None:
        compress, evaluate = worker.compress, worker.evaluate
        met: list[int] = []

        def compressing(config: RunConfig, item: Any, *arguments: Any) -> Any:
            self._begin("compress", item.name)
            if not met:
                met.append(barrier.wait(DEADLINE_S))
            if item.name == hangs_in:
                time.sleep(DEADLINE_S)
            if item.name == fails:
                raise UserError("no luck")
            return compress(config, item, *arguments)

        def evaluating(config: RunConfig, folder: Any, cell: Any, *arguments: Any) -> Any:
            self._begin("evaluate", str(cell))
            return evaluate(config, folder, cell, *arguments)

        worker.compress, worker.evaluate = compressing, evaluating
        outcome = Run(self.config, self.out, "cpu").execute()
        _append(self.failures, outcome.failures)

    def _begin(self, step: str, subject: str) -> None:
        _append(self.done, {"step": step, "subject": subject, "pid": os.getpid()})
        time.sleep(SECONDS)


def _append(path: Path, value: Any) -> None:
    descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, (json.dumps(value) + "\n").encode())
    os.close(descriptor)


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def processes(config: RunConfig, tmp_path: Path) -> Processes:
    return Processes(config, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_compressions_and_cells(count: int, processes: Processes) -> None:
    processes.start(count, meet=True)
    assert processes.end() == [0] * count
    noted = processes.noted()
    assert set(Counter(each["subject"] for each in noted).values()) == {1}
    assert Counter(each["step"] for each in noted) == {"compress": 4, "evaluate": 6}
    by_process = Counter((each["pid"], each["step"]) for each in noted)
    assert len([pid for pid, step in by_process if step == "compress"]) == count, "all compress at the same time"
    assert len([pid for pid, step in by_process if step == "evaluate"]) >= 2
    assert {state.kind for state in status_of(processes.out).values()} == {"done"}


@pytest.mark.slow
def test_a_killed_process_loses_one_item_to_another(processes: Processes) -> None:
    lost = "prune-only-0.2-seed0"
    processes.start(1, hangs_in=lost)
    wait_until(processes.done.exists)
    (victim,) = processes.running
    states = {item.label: state for item, state in status_of(processes.out).items()}
    running = states[f"compress {lost}"]
    assert running.kind == "running"
    assert running.holder
    assert running.holder.pid == victim.pid
    processes.start(1)
    # All that does not need the lost item is done although it still runs.
    wait_until(lambda: len(processes.noted()) == 1 + 3 + 5)
    os.kill(victim.pid, signal.SIGKILL)
    assert processes.end() == [-signal.SIGKILL, 0]
    counts = Counter(each["subject"] for each in processes.noted())
    assert counts.pop(lost) == 2
    assert set(counts.values()) == {1}
    assert {state.kind for state in status_of(processes.out).values()} == {"done"}


@pytest.mark.slow
def test_a_failure_is_not_tried_again_by_processes_that_saw_it(processes: Processes) -> None:
    failing = "prune-only-0.3-seed1"
    processes.start(3, fails=failing)
    assert processes.end() == [0, 0, 0]
    counts = Counter(each["subject"] for each in processes.noted())
    assert counts[failing] == 1
    assert set(counts.values()) == {1}
    reported = [json.loads(line) for line in processes.failures.read_text().splitlines()]
    assert reported == [{f"compress {failing}": "no luck"}] * 3
    kinds = Counter(state.kind for state in status_of(processes.out).values())
    assert kinds == {"done": 3 + 5, "failed": 1, "blocked": 1}
    processes.start(1)
    assert processes.end()[-1] == 0
    assert Counter(each["subject"] for each in processes.noted())[failing] == 2
    assert {state.kind for state in status_of(processes.out).values()} == {"done"}


def test_only_a_held_claim_has_a_holder(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    assert holder_of(lock) is None
    lock.write_text('{"host": "elsewhere", "pid": 1}')  # As a killed process leaves it.
    assert holder_of(lock) is None
    with claimed(lock, wait=False) as mine:
        assert mine
        holder = holder_of(lock)
        assert holder
        assert (holder.host, holder.pid) == ("elsewhere", 1)
        for damaged in ("", "{", '{"pid": "x"}', "\0" * 10):
            lock.write_text(damaged)
            found = holder_of(lock)
            assert found
            assert found.pid is None
    assert holder_of(lock) is None
