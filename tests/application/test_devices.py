"""Devices that cannot run a model are told before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config.run import Choice, RunConfig, resolve
from bench.errors import UserError
from bench.runner.checks import check_devices
from bench.testing import tiny_teacher
from bench.upstream import save_upstream
from bench.upstream.reduction import quantised


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    save_upstream(quantised(tiny_teacher(), ["layers.0.attention.q_proj"]), tmp_path / "small", {})
    references = (str(tmp_path / "small"), "mini-hubert", "fbank")
    return resolve(Choice(references=references, tasks=("ks",)), {each: Path(each).name for each in references})


def test_a_model_of_int8_layers_is_refused_on_a_gpu(config: RunConfig) -> None:
    check_devices(config, "cpu")
    with pytest.raises(UserError, match=r"^small: int8 linear layers run on the CPU alone.*Use --device cpu"):
        check_devices(config, "cuda")
