"""Start and end processes of this machine that train together, one per device."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from bench.contracts import Context
from bench.errors import UserError
from compressors.settings import TrainingConfig

LOGGERS = ("bench", "compressors")
MESSAGE_CHARACTERS = 1000
"""Longest error message. All processes share a pipe of 64 KiB, which is read only after the first failed process has
ended. A process blocks while its message does not fit."""


def require_devices(config: TrainingConfig, context: Context, devices: int) -> None:
    """Refuse a number of processes that cannot share the work.

    Args:
        config: ``accumulate_batches`` counts the batches of all processes together.
        context: says whether each process needs a GPU.
        devices: number of processes.

    Raises:
        UserError: a wrong number of processes.
    """
    if context.device == "cuda" and devices > torch.cuda.device_count():
        raise UserError(
            f"Expected a GPU for each of --devices {devices}. Found {torch.cuda.device_count()}. "
            "Lower --devices, or look at CUDA_VISIBLE_DEVICES."
        )
    if config.accumulate_batches % devices:
        raise UserError(
            f"Expected accumulate_batches, the batches of an update, to be a multiple of --devices {devices}. "
            f"Found {config.accumulate_batches}. Choose another --devices, or --set accumulate_batches={devices} and "
            "a smaller seconds_per_batch."
        )


def run_together(num_processes: int, work: Callable[[], object]) -> None:
    """Call ``work`` in several processes, and wait for all of them.

    Their environment is the one that lightning expects of processes started by others. The first one logs as this
    one does.

    Args:
        num_processes: number of processes.
        work: must be picklable. Its result is dropped.

    Raises:
        UserError: what the first process to fail said; all others are ended too.
    """
    # Hides a C++ warning of DDP about batches that use all weights. Torch reads the variable at import.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    failures = torch.multiprocessing.get_context("spawn").SimpleQueue()
    levels = {name: logging.getLogger(name).getEffectiveLevel() for name in LOGGERS}
    arguments = (num_processes, find_free_network_port(), levels, failures, work)
    # Lightning's own spawning would pickle the model, which weight normalisation does not allow.
    processes: Any = start_processes(_member, arguments, num_processes, join=False, start_method="spawn")  # type: ignore[no-untyped-call]
    try:
        while not processes.join():
            pass
    except ProcessRaisedException as error:
        # The first message: a process that loses another fails too, and may be found first.
        raise UserError(failures.get()) from error
    except ProcessExitedException as error:
        if error.signal_name in ("SIGTERM", "SIGINT"):
            raise KeyboardInterrupt from error
        raise UserError(
            f"Expected all training processes to succeed. Found number {error.error_index} ended by "
            f"{error.signal_name or f'exit code {error.exit_code}'}, perhaps out of memory. "
            "The last checkpoint is kept: run the same command again to resume."
        ) from error
    finally:
        for process in processes.processes:
            process.kill()


def _member(
    rank: int, num_processes: int, port: int, log_levels: dict[str, int], failures: Any, work: Callable[[], object]
) -> None:
    """Run as one of the processes."""
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    warnings.simplefilter("ignore")
    if rank == 0:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        for name, level in log_levels.items():
            logging.getLogger(name).setLevel(level)
    try:
        work()
    except UserError as error:
        failures.put(_shortened(error))
        raise
    except Exception as error:
        failures.put(
            f"Expected all training processes to succeed. Found number {rank} stopped by "
            f"{type(error).__name__}: {_shortened(error)}. The last checkpoint is kept; --debug shows where."
        )
        raise
    except KeyboardInterrupt:
        # Torch would count a KeyboardInterrupt as success.
        sys.exit(1)


def _shortened(error: Exception) -> str:
    message = str(error)
    return message if len(message) <= MESSAGE_CHARACTERS else f"{message[:MESSAGE_CHARACTERS]} ..."
