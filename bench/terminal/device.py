"""The option ``--device``."""

from __future__ import annotations

from typing import Literal

import torch

from bench.errors import UserError


def resolve_device(choice: str) -> Literal["cpu", "cuda"]:
    """Choose the device. ``auto`` means CUDA if it is available.

    Raises:
        UserError: CUDA was requested, but is not available.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device here. Use --device cpu, or see `bench doctor`.")
    if choice == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return "cuda"
