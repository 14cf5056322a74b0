"""Start processes that train together, and end them together."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch._C._distributed_c10d import TCPStore
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from bench.errors import UserError
from bench.progress import pass_on, reported_to
from bench.stopping import STOP_SIGNAL, is_stop_requested, stop_when_asked
from bench.workers.launched import hand_out, joined_rank
from bench.workers.ranks import Rank, process_group, working_as

LOGGERS = ("bench", "compressors", "tasks")
MESSAGE_CHARACTERS = 1000
"""Longest error message. All processes share a pipe of 64 KiB, which is read only after the first failed process has
ended. A process blocks while its message does not fit."""
PROGRESS_BYTES = 400
SECONDS_BETWEEN_LOOKS = 0.5
"""How often the progress of the first process is read."""

Device = Literal["cpu", "cuda"]


def run_together(num_processes: int, device: Device, work: Callable[[], object]) -> None:
    """Call ``work`` in several processes, and wait for all of them.

    These are new processes of this machine, or those that torchrun or srun has started; see `launched.leading`.

    Args:
        num_processes: number of processes.
        device: where each of them computes; each has its own GPU.
        work: must be picklable and small: paths and settings. Its result is dropped.

    Raises:
        UserError: what the first process to fail said; all others are ended too.
    """
    joined = joined_rank()
    if joined is None:
        _start(num_processes, device, work)
        return
    hand_out(work)
    with working_as(joined):
        work()


@dataclass(frozen=True)
class _Common:
    """What all started processes get."""

    count: int
    device: Device
    port: int
    """Of the store of this machine where they meet."""
    levels: dict[str, int]
    """Levels of our loggers."""
    failures: Any
    """Queue of errors."""
    progress: Any
    """Shared memory with the progress of the first process, in words."""
    work: Callable[[], object]


def _start(num_processes: int, device: Device, work: Callable[[], object]) -> None:
    # Hides a C++ warning of DDP about batches that use all weights. Torch reads the variable at import.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # It warns that it ends the other processes after a failure.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    spawning = torch.multiprocessing.get_context("spawn")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    levels = {name: logging.getLogger(name).getEffectiveLevel() for name in LOGGERS}
    progress: Any = spawning.Array("c", PROGRESS_BYTES)
    common = _Common(num_processes, device, store.port, levels, spawning.SimpleQueue(), progress, work)
    # Lightning's own spawning would pickle the model, which weight normalisation does not allow.
    processes: Any = start_processes(_member, (common,), num_processes, join=False, start_method="spawn")  # type: ignore[no-untyped-call]
    try:
        while not processes.join(timeout=SECONDS_BETWEEN_LOOKS):
            if progress.value:
                pass_on(progress.value.decode(errors="ignore"))
            if is_stop_requested():
                _ask_to_stop(processes.pids())
    except (ProcessRaisedException, ProcessExitedException) as error:
        raise _plain(error, processes, common.failures) from error
    finally:
        for process in processes.processes:
            process.kill()


def _ask_to_stop(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, STOP_SIGNAL)


def _plain(error: ProcessRaisedException | ProcessExitedException, processes: Any, failures: Any) -> BaseException:
    """Return the error that ended all processes: a process that loses another fails too, and may be found first."""
    killed = [number for number, process in enumerate(processes.processes) if process.exitcode == -signal.SIGKILL]
    if not killed and isinstance(error, ProcessRaisedException):
        kind, message = failures.get()
        failure: UserError = kind(message)
        return failure
    name = getattr(error, "signal_name", None)
    if not killed and (name in ("SIGTERM", "SIGINT") or is_stop_requested()):
        return KeyboardInterrupt()
    number = killed[0] if killed else error.error_index
    reason = "SIGKILL" if killed else name or f"exit code {getattr(error, 'exit_code', 1)}"
    return UserError(
        f"Expected all training processes to succeed. Found number {number} ended by {reason}, perhaps out of memory. "
        "The last checkpoint is kept: run the same command again to resume."
    )


def _member(number: int, common: _Common) -> None:
    """Run as one of the started processes."""
    warnings.simplefilter("ignore")
    stop_when_asked()
    _log_as_one(is_first=number == 0, levels=common.levels)
    if common.device == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // common.count))
    rank = Rank(number, common.count)
    try:
        store = TCPStore("127.0.0.1", common.port, is_master=False)
        with process_group(rank, common.device, number, store), working_as(rank), reported_to(_noting(rank, common)):
            common.work()
    except UserError as error:
        common.failures.put((type(error), _shortened(error)))
        raise
    except Exception as error:
        message = (
            f"Expected all training processes to succeed. Found number {number} stopped by "
            f"{type(error).__name__}: {_shortened(error)}. The last checkpoint is kept; --debug shows where."
        )
        common.failures.put((UserError, message))
        raise
    except KeyboardInterrupt:
        # Torch would count a KeyboardInterrupt as success.
        sys.exit(1)


def _noting(rank: Rank, common: _Common) -> Callable[[str], None]:
    def note(text: str) -> None:
        if rank.is_first:
            common.progress.value = text.encode()[: PROGRESS_BYTES - 1]

    return note


def _log_as_one(*, is_first: bool, levels: dict[str, int]) -> None:
    """Let the first process log as the one that started it does, and silence the others."""
    if not is_first:
        logging.disable()
        return
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _shortened(error: Exception) -> str:
    message = str(error)
    return message if len(message) <= MESSAGE_CHARACTERS else f"{message[:MESSAGE_CHARACTERS]} ..."
