"""Models that run on the CPU alone, in runs on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config.run import Choice, RunConfig, resolve
from bench.errors import UserError
from bench.runner.checks import check_kernels, device_of
from bench.testing import tiny_teacher
from bench.upstream import load_upstream, save_upstream
from bench.upstream.reduction import quantised


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    save_upstream(quantised(tiny_teacher(), ["layers.0.attention.q_proj"]), tmp_path / "small", {})
    references = (str(tmp_path / "small"), "mini-hubert", "fbank")
    return resolve(Choice(references=references, tasks=("ks",)), {each: Path(each).name for each in references})


def test_models_with_int8_layers_alone_are_evaluated_on_the_cpu(config: RunConfig) -> None:
    models = {name: load_upstream(source.reference or "") for name, source in config.models.items()}
    on_gpu = {name: device_of(model, "cuda") for name, model in models.items()}
    assert on_gpu == {"small": "cpu", "mini-hubert": "cuda", "fbank": "cuda"}
    assert {device_of(model, "cpu") for model in models.values()} == {"cpu"}


def test_a_build_without_int8_kernels_is_told_before_any_work(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_kernels(config)
    monkeypatch.setattr("torch._C._get_qengine", lambda: 0)  # What such a build has.
    with pytest.raises(UserError, match=r"^small: int8 linear layers need torch's quantised kernels"):
        check_kernels(config)
