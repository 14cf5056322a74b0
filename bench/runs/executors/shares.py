"""Shares the GPUs and the processor's threads of this machine out to several processes."""

from __future__ import annotations

import os
from typing import Literal

import torch

from bench.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def environments(count: int, device: Literal["cpu", "cuda"]) -> list[dict[str, str]]:
    """Return the environment variables of each process: its threads, and on ``cuda`` its GPU.

    Torch reads both when it is imported.

    Args:
        count: number of processes.
        device: where they work.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count))}
    if device == "cpu":
        return [threads] * count
    gpus = visible_gpus()
    if count > len(gpus):
        raise UserError(
            f"Expected a GPU for each process of --executor processes:{count}. Found {len(gpus)}: "
            f"{', '.join(gpus[:8])}. Use processes:{len(gpus)}, or see {VISIBLE}."
        )
    return [{**threads, VISIBLE: gpu} for gpu in gpus[:count]]


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    chosen = os.environ.get(VISIBLE)
    return chosen.replace(" ", "").split(",")[:count] if chosen else [str(number) for number in range(count)]
