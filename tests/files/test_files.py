"""Files that are whole or absent: who may read and write them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.files.atomic import replacing


@pytest.fixture(params=[0o002, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Files of this process are for its group as well, for reading only, or for nobody else."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_modes_follow_the_umask_whatever_writes(umask: int, tmp_path: Path) -> None:
    with replacing(tmp_path / "weights.safetensors") as temporary:
        save_file({"a": torch.zeros(2)}, temporary)
    with replacing(tmp_path / "text") as temporary:
        temporary.write_text("all of it")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("weights.safetensors", "text"), 0o666 & ~umask)
