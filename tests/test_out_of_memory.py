"""Too little memory: which errors mean it, and that the recording is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bench.errors import UserError
from bench.extraction import extract
from bench.out_of_memory import is_out_of_memory, naming_recording
from bench.upstream import UpstreamModel


def allocate(*_: object) -> Any:
    return torch.empty(2**60, dtype=torch.uint8)


def test_what_torch_raises_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        allocate()
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))


@pytest.mark.parametrize("act", [allocate, lambda: (_ for _ in ()).throw(MemoryError())])
def test_the_recording_is_named(act: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=r"meeting\.wav, of 420 s"), naming_recording("meeting.wav", 420.0):
        next(act()) if act is not allocate else act()


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), naming_recording("a.wav", 1.0):
        raise RuntimeError("shapes differ")


def test_features_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(16_000, np.float32), 16_000)
    monkeypatch.setattr(UpstreamModel, "forward", allocate)
    with pytest.raises(UserError, match=r"long\.wav"):
        extract("mini-hubert", [path], tmp_path / "out.npz", resample=False, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]
