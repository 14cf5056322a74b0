"""The precision of float32 products is set for a block."""

from __future__ import annotations

import pytest
import torch

from bench.upstream.matmul_precision import matmul_precision


def test_the_earlier_precision_is_restored_after_an_error_too() -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), matmul_precision("medium"):
        assert torch.get_float32_matmul_precision() == "medium"
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == before
