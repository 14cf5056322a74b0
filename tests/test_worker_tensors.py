"""Data loading where shared memory is too small."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bench.worker_tensors import send_without_shared_memory


class Batches(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        whole = torch.arange(12, dtype=torch.float32).reshape(3, 4) + index
        # A view, a transposed one, an empty tensor, half precision, and one tensor twice.
        return {"part": whole[1], "turned": whole.T, "empty": whole[:0], "half": whole.half(), "twice": [whole, whole]}


def test_batches_arrive_where_shared_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_storage: object) -> None:
        raise RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)")

    monkeypatch.setattr("torch.multiprocessing.reductions.reduce_storage", full)
    send_without_shared_memory()
    loader = DataLoader(Batches(), batch_size=None, num_workers=1, timeout=60)
    for index, batch in enumerate(loader):
        for name, value in Batches()[index].items():
            torch.testing.assert_close(batch[name], value, rtol=0, atol=0)
