"""Data loading where shared memory is too small."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bench.errors import UserError
from bench.workers.worker_tensors import prepare_workers


class DiskUsage(NamedTuple):
    total: int
    used: int
    free: int


class Batches(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        whole = torch.arange(12, dtype=torch.float32).reshape(3, 4) + index
        # A view, a transposed one, an empty tensor, half precision, and one tensor twice.
        return {"part": whole[1], "turned": whole.T, "empty": whole[:0], "half": whole.half(), "twice": [whole, whole]}


def test_batches_arrive_where_others_fill_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_storage: object) -> None:
        raise RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)")

    monkeypatch.setattr("torch.multiprocessing.reductions.reduce_storage", full)
    prepare_workers(1)
    require_all_batches()


def test_batches_arrive_where_shared_memory_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.workers.worker_tensors.shutil.disk_usage", lambda _: DiskUsage(2**20, 2**19, 2**19))
    prepare_workers(1)
    require_all_batches()


def test_no_room_for_locks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.workers.worker_tensors.shutil.disk_usage", lambda _: DiskUsage(2**26, 2**26, 0))
    prepare_workers(0)
    with pytest.raises(UserError, match="num_workers"):
        prepare_workers(2)


def require_all_batches() -> None:
    loader = DataLoader(Batches(), batch_size=None, num_workers=1, timeout=60)
    for index, batch in enumerate(loader):
        for name, value in Batches()[index].items():
            torch.testing.assert_close(batch[name], value, rtol=0, atol=0)
