"""The device of the GPU tests, and what they share.

Without a CUDA device they skip. ``SUPERB_BENCH_GPU_TESTS_DEVICE=cpu`` runs them on the CPU, which tests their own code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.helpers.embedded import write_embedded

Device = Literal["cpu", "cuda"]

VARIABLE = "SUPERB_BENCH_GPU_TESTS_DEVICE"


@pytest.fixture(scope="session", autouse=True)
def device() -> Device:
    """The device that is tested."""
    import torch

    wanted = os.environ.get(VARIABLE, "cuda")
    if wanted == "cpu":
        return "cpu"
    if wanted != "cuda":
        pytest.fail(f"Expected cpu or cuda in {VARIABLE}. Found {wanted!r}.")
    if not torch.cuda.is_available():
        pytest.skip(f"torch finds no CUDA device ({VARIABLE}=cpu runs these tests on the CPU)")
    return "cuda"


@pytest.fixture
def gpu(device: Device) -> None:
    """Skip where there is no GPU even if the tests run on the CPU."""
    if device == "cpu":
        pytest.skip("only a GPU has this")


@pytest.fixture(scope="session")
def num_devices(device: Device) -> int:
    """Devices for one training: all GPUs, or two processes on the CPU."""
    import torch

    count = torch.cuda.device_count() if device == "cuda" else 2
    if count < 2:
        pytest.skip("one GPU only")
    return count


@pytest.fixture(scope="session", autouse=True)
def own_cache(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start with an empty cache, so that features are computed here. All tests share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPERB_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def all_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data file of small embedded corpora of all tasks."""
    return write_embedded(tmp_path_factory.mktemp("embedded"))
