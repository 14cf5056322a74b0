"""How precisely matrix products of float32 values are computed, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

MatmulPrecision = Literal["highest", "high", "medium"]
"""``highest`` is float32 throughout. A GPU rounds the factors to TF32 in ``high``, to bf16 in ``medium``."""


@contextmanager
def matmul_precision(precision: MatmulPrecision) -> Iterator[None]:
    """Compute float32 matrix products at a precision, and restore the one from before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
