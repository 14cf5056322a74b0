"""Shares the GPUs and the processor's threads of this machine out to several processes."""

from __future__ import annotations

import os
from typing import Literal

import torch

from bench.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def environments(count: int, device: Literal["cpu", "cuda"], devices: int = 1) -> list[dict[str, str]]:
    """Return the environment variables of each process: its threads, and on ``cuda`` its GPUs.

    Torch reads both when it is imported.

    Args:
        count: number of processes.
        device: where they work.
        devices: number of GPUs that each of them trains on.

    Raises:
        UserError: there are too few GPUs.
    """
    threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count))}
    if device == "cpu":
        return [threads] * count
    gpus = visible_gpus()
    if count * devices > len(gpus):
        of_its_own = "a GPU" if devices == 1 else f"{devices} GPUs (--devices)"
        fewer = f"Use processes:{len(gpus) // devices}" if len(gpus) >= devices else "Lower --devices"
        raise UserError(
            f"Expected {of_its_own} for each process of --executor processes:{count}. Found {len(gpus)}: "
            f"{', '.join(gpus[:8])}. {fewer}, or see {VISIBLE}."
        )
    return [{**threads, VISIBLE: ",".join(gpus[devices * number : devices * (number + 1)])} for number in range(count)]


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    chosen = os.environ.get(VISIBLE)
    return chosen.replace(" ", "").split(",")[:count] if chosen else [str(number) for number in range(count)]
