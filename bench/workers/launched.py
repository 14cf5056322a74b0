"""Processes that torchrun or srun has started, on one machine or several: one leads the command, the others help."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from torch import cuda
from torch._C._distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from bench.errors import UserError
from bench.text import shortened
from bench.workers.ranks import Rank, process_group, shared, working_as

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

STARTING_TIME = timedelta(minutes=10)
"""How long the processes wait for the last one to start."""

_joined: ContextVar[Rank | None] = ContextVar("joined", default=None)


def joined_rank() -> Rank | None:
    """Return the rank of this process among those that torchrun or srun has started for this command, if any."""
    return _joined.get()


@contextmanager
def leading(devices: int, device: Literal["cpu", "cuda"]) -> Iterator[bool]:
    """Run the block in one process. Others that torchrun or srun has started help it with `together.run_together`.

    Without ``--devices``, such processes do not know of each other: each runs the command, and they share its work.

    Args:
        devices: number of devices that the user asked for.
        device: kind of device.

    Yields:
        Whether this process leads. If not, the command is already done.

    Raises:
        UserError: another number of processes was started, or the leading one has failed.
    """
    environment = _environment() if devices > 1 else None
    if environment is None:
        if device == "cuda":
            _require_gpus(devices)
        yield True
        return
    with _plain_errors():
        rank = Rank(environment.global_rank(), environment.world_size())
    if rank.count != devices:
        raise UserError(
            f"Expected --devices {rank.count}, the number of processes that torchrun or srun has started. Found "
            f"--devices {devices}. Start as many processes as --devices, or a single one."
        )
    with _plain_errors():
        number_here, url = environment.local_rank(), f"tcp://{environment.main_address}:{environment.main_port}"
    if device == "cuda":
        # Slurm may show each process its own GPU alone, torchrun never does.
        alone = cuda.device_count() == 1 and "LOCAL_WORLD_SIZE" not in os.environ
        _require_gpus(1 if alone else number_here + 1)
    with process_group(rank, device, number_here, _store(url, rank)):
        if not rank.is_first:
            _help(rank)
            yield False
            return
        token = _joined.set(rank)
        try:
            yield True
        finally:
            _joined.reset(token)
            # After a failure, the others notice that this process has ended, or have ended themselves.
            if sys.exc_info()[0] is None:
                with contextlib.suppress(UserError):
                    hand_out(None)


def hand_out(work: Callable[[], object] | None) -> None:
    """Give the other processes work, or let them end.

    Raises:
        UserError: one of them has ended.
    """
    try:
        shared(work)
    except RuntimeError as error:
        raise UserError(
            "Expected all processes of --devices to help. Found that one has ended; see its own message. "
            "Start all processes again to resume."
        ) from error


def _require_gpus(devices: int) -> None:
    if devices > cuda.device_count():
        raise UserError(
            f"Expected a GPU for each of --devices, {devices} on this machine. Found {cuda.device_count()}. "
            "Lower --devices, or look at CUDA_VISIBLE_DEVICES."
        )


def _environment() -> ClusterEnvironment | None:
    """Return what torchrun or srun says about the processes that it has started, if there are several."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    with _plain_errors():
        if TorchElasticEnvironment.detect():
            environment: ClusterEnvironment = TorchElasticEnvironment()
        # Srun alone sets this variable. A batch script also sees the number of its tasks, before it starts them.
        elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            environment = SLURMEnvironment(auto_requeue=False)
        else:
            return None
        return environment if environment.world_size() > 1 else None


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Explain the errors of lightning, which reads environment variables without checking them.

    Raises:
        UserError: a variable is missing or wrong.
    """
    try:
        yield
    except (KeyError, ValueError, RuntimeError) as error:
        reason = f"no variable {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"Expected the environment variables of torchrun or srun for --devices. Found {shortened(reason, 160)}. "
            "Start the processes with one of these programs, or unset its variables."
        ) from error


def _store(url: str, rank: Rank) -> Store:
    store: Store
    try:
        store, _, _ = next(iter(rendezvous(url, rank.number, rank.count, timeout=STARTING_TIME)))
    except RuntimeError as error:
        raise UserError(
            f"Expected all {rank.count} processes of --devices to meet at {url} within {STARTING_TIME}. "
            f"Process {rank.number} does not find them. Look at the others, and at MASTER_ADDR and MASTER_PORT."
        ) from error
    return store


def _help(rank: Rank) -> None:
    """Take part in the common work of the leading process until it has none left."""
    logging.disable()
    while (work := _next_work()) is not None:
        with working_as(rank):
            work()


def _next_work() -> Callable[[], object] | None:
    work: Callable[[], object] | None
    try:
        work = shared(None)
    except RuntimeError as error:
        raise UserError(
            "Expected work from the first process of --devices. It has ended early; see its own message. "
            "Start all processes again to resume."
        ) from error
    return work
