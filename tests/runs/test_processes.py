"""``--executor processes:N``: several processes on one machine, their ends and their shares of it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import UserError
from bench.runs.executors import child
from bench.runs.executors.assignment import Assignment
from bench.runs.executors.processes import LostProcessesError, Processes
from bench.runs.executors.shares import environments
from bench.runs.run import Run
from bench.runs.status import status_of
from bench.store.holders import claimed_by_name
from bench.store.run_folder import RunFolder
from tests.helpers.command_line import bench, error_of
from tests.helpers.tiny_runs import QUICK, config_of, write_data, write_teacher

PROGRAM = Path(__file__).with_name("noting_program.py")
ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
COMPRESSIONS = [f"prune-only-{sparsity}-seed{seed}" for sparsity in (0.2, 0.3) for seed in (0, 1)]
CELLS = [f"{row} ks seed {seed}" for row in ("teacher", "prune-only-0.2", "prune-only-0.3") for seed in (0, 1)]


class Runs:
    """Runs of one sweep of ten items in several processes each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "run"
        teacher = write_teacher(folder / "teacher")
        settings = (*(f"tasks.ks.{setting}" for setting in QUICK), "importance=l2", "recovery=null")
        self.arguments = [
            *("sweep", "--compressor", "prune-only", "--sparsity", "0.2,0.3", "--seeds", "0,1", "--tasks", "ks"),
            *("--data", str(write_data(folder / "data")), "--teacher", str(teacher), "--preset", "smoke"),
            *("--budget", "preset", "--device", "cpu", *(f"--set={setting}" for setting in settings)),
        ]
        self.started: list[subprocess.Popen[str]] = []

    def start(self, count: int, **behaviour: str) -> subprocess.Popen[str]:
        """Start the sweep in so many processes; see `tests.runs.noting_program` for what they do."""
        for file, subject in behaviour.items():
            (self.folder / file).write_text(subject)
        options = ["--out", str(self.out), "--executor", f"processes:{count}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.folder), *self.arguments, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def begun(self) -> list[dict[str, Any]]:
        path = self.folder / "begun.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def counts(self) -> Counter[str]:
        return Counter(each["subject"] for each in self.begun())

    def let_go(self) -> None:
        (self.folder / "hang").unlink()

    def kinds(self) -> Counter[str]:
        return Counter(state.kind for state in status_of(self.out).values())


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path)
    yield found
    for process in found.started:
        process.kill()


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_items_and_find_what_one_finds(count: int, runs: Runs) -> None:
    process = runs.start(count)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert runs.counts() == Counter([*COMPRESSIONS, *CELLS])
    assert len({each["pid"] for each in runs.begun()}) >= 2
    assert "prune-only-0.3" in output
    assert {line[:4] for line in errors.splitlines() if "done in" in line} <= {f"[{n}] " for n in range(1, count + 1)}
    inline = bench(*runs.arguments, "--out", str(runs.folder / "inline"))
    assert inline.returncode == 0, inline.stderr
    table = (runs.out / "leaderboard.csv").read_text()
    assert table == (runs.folder / "inline" / "leaderboard.csv").read_text()


@pytest.mark.slow
def test_a_killed_process_loses_its_item_to_another(runs: Runs) -> None:
    lost = COMPRESSIONS[0]
    process = runs.start(2, hang=lost)
    wait_until(lambda: runs.counts().total() == 1 + 3 + 4)
    victim = next(each["pid"] for each in runs.begun() if each["subject"] == lost)
    runs.let_go()
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert len([line for line in errors.splitlines() if "SIGKILL" in line]) == 1
    assert runs.counts() == Counter([*COMPRESSIONS, *CELLS, lost])
    assert runs.kinds() == {"done": 10}


@pytest.mark.slow
def test_a_run_whose_processes_are_all_killed_fails(runs: Runs) -> None:
    process = runs.start(2, hang="*")
    wait_until(lambda: len(runs.begun()) == 2)
    for each in runs.begun():
        os.kill(each["pid"], signal.SIGKILL)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "SIGKILL" in line
    assert len(line) <= 400
    assert runs.kinds() == {"ready": 6, "blocked": 4}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes_and_loses_nothing(number: signal.Signals, runs: Runs) -> None:
    process = runs.start(2, hang=CELLS[0])
    wait_until(lambda: runs.counts().total() == 10)
    pids = {each["pid"] for each in runs.begun()}
    process.send_signal(number)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, errors
    assert len([line for line in errors.splitlines() if "interrupted" in line]) == 1
    assert not [pid for pid in pids if is_running(pid)]
    assert runs.kinds()["running"] == 0
    done = runs.kinds()["done"]
    if number == signal.SIGINT:
        return
    runs.let_go()
    again = runs.start(2)
    assert again.wait(DEADLINE_S) == 0
    assert runs.kinds() == {"done": 10}
    assert runs.counts().total() == 10 + 10 - done


@pytest.mark.slow
def test_a_request_to_stop_reaches_all_processes(runs: Runs) -> None:
    process = runs.start(2, hang="*")
    wait_until(lambda: len(runs.begun()) == 2)
    process.send_signal(signal.SIGUSR2)
    time.sleep(1.0)
    runs.let_go()
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, errors
    assert "SIGUSR2" not in errors
    assert len(runs.begun()) == 2
    assert runs.kinds()["done"] == 2


@pytest.mark.slow
def test_processes_end_with_the_one_that_has_started_them(runs: Runs) -> None:
    process = runs.start(2, hang="*")
    wait_until(lambda: len(runs.begun()) == 2)
    process.kill()
    wait_until(lambda: not [each for each in runs.begun() if is_running(each["pid"])])


@pytest.mark.slow
def test_a_failure_is_tried_once_and_reported(runs: Runs) -> None:
    failing = COMPRESSIONS[3]
    process = runs.start(3, fail=failing)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "no luck" in errors
    assert f"compress {failing}" in errors.splitlines()[-1]
    assert set(runs.counts().values()) == {1}
    assert runs.kinds() == {"done": 3 + 5, "failed": 1, "blocked": 1}


def test_an_assignment_says_which_failures_are_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = str(write_teacher(tmp_path / "teacher"))
    config = config_of(write_data(tmp_path / "data"), teacher=teacher, compressors="int8")
    note = RunFolder(Path("run")).failure_path("compress int8")
    note.parent.mkdir(parents=True)
    note.write_text("no luck\n")
    RunFolder(Path("run")).write_config(config.model_dump(mode="json"))
    job = Run(config, Path("run"), "cpu", cache_limit_bytes=10**9).begin()
    line = Assignment.of(job).line()
    assert line.count(b"\n") == 1
    assignment = Assignment.parsed(line)
    assert assignment == Assignment.of(job)
    assert assignment.noted_before == {note: note.stat().st_mtime_ns}


def test_workers_do_not_repeat_the_log_of_the_checks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = config_of(write_data(tmp_path / "data"), teacher=str(write_teacher(tmp_path / "teacher")))
    job = Run(config, tmp_path / "run", "cpu").begin()
    checks = set(caplog.messages)
    assert checks
    caplog.clear()
    Assignment.of(job).work_through()
    assert not checks & set(caplog.messages)
    assert any("done in" in message for message in caplog.messages)


def test_an_item_of_another_command_is_left_if_all_processes_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(write_data(tmp_path / "data"), teacher=str(write_teacher(tmp_path / "teacher")))
    job = Run(config, tmp_path / "run", "cpu").begin()
    (item,) = job.work.items()
    monkeypatch.setattr(child, "WORK", (sys.executable, "-c", "raise SystemExit(1)"))
    with claimed_by_name(job.work.folder.lock_path(item.label)), pytest.raises(LostProcessesError, match=item.label):
        Processes([{}]).work_through(job)


def test_the_last_line_of_a_process_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; sys.stderr.write('a line\\n' * 5000 + 'last words')"
    monkeypatch.setattr(child, "WORK", (sys.executable, "-c", code))
    started = child.Child(7, b"", {})
    wait_until(lambda: started.exit_code is not None)
    started.interrupt()
    started.close()
    assert capsys.readouterr().err.endswith("[7] last words\n")


@pytest.mark.parametrize("text", ["", "\n", "{}", "[" * 100_000, '{"config": 1, "folder": "a"}', "\0"])
def test_worker_processes_refuse_other_input(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert "--executor" in error_of("work")


@pytest.mark.parametrize(("threads", "count", "share"), [(8, 2, 4), (8, 3, 2), (2, 4, 1), (1, 1, 1)])
def test_threads_are_shared_out(threads: int, count: int, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert environments(count, "cpu") == [{"OMP_NUM_THREADS": str(share)}] * count


@pytest.mark.parametrize(
    ("visible", "gpus"), [(None, ["0", "1", "2"]), ("5,3,GPU-1f", ["5", "3", "GPU-1f"]), ("", ["0", "1", "2"])]
)
def test_every_process_has_its_own_gpu(visible: str | None, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments(3, "cuda")] == gpus
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments(2, "cuda")] == gpus[:2]
    with pytest.raises(UserError, match="processes:4"):
        environments(4, "cuda")


def test_every_process_has_as_many_gpus_as_it_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,3,2,1,0")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments(2, "cuda", devices=2)] == ["4,3", "2,1"]
    with pytest.raises(UserError, match=r"2 GPUs \(--devices\).* Found 5\b.*processes:2\b"):
        environments(3, "cuda", devices=2)
    with pytest.raises(UserError, match=r"Lower --devices"):
        environments(1, "cuda", devices=8)
