"""``bench export --to s3prl``: s3prl itself loads the folder, and finds our hidden states."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.exports import export_model
from bench.upstream import UpstreamConfig, load_upstream, save_upstream
from bench.upstream.reduction import quantised
from tasks.bridge.frozen_upstream import FrozenUpstream
from tests.helpers.command_line import error_of
from tests.helpers.odd_models import low_rank_shape, perturbed_model, pruned_shape, small_config

LENGTHS = [6000, 4321, 500]
"""The last is shorter than the 0.05 s to which s3prl pads."""
COMPRESS: dict[str, Callable[[UpstreamConfig], UpstreamConfig]] = {
    "pruned": pruned_shape,
    "low-rank": low_rank_shape,
    "stock": lambda shape: shape,
}


@pytest.fixture(autouse=True)
def modules_as_they_were() -> Iterator[None]:
    """Leave the module names of exported folders free for other tests."""
    yield
    for name in ("expert", "hubconf", "registration", "modeling_superb_bench"):
        sys.modules.pop(name, None)


@pytest.fixture
def s3prl_upstream(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    """Load an exported folder with s3prl's own class."""

    def load(folder: Path) -> Any:
        monkeypatch.syspath_prepend(str(folder))
        from registration import register
        from s3prl.nn.upstream import S3PRLUpstream

        register()
        return S3PRLUpstream("superb_bench", str(folder)).eval()

    return load


@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
def test_hidden_states_are_equal(
    family: Any,
    large: bool,
    compress: Callable[[UpstreamConfig], UpstreamConfig],
    s3prl_upstream: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    model = perturbed_model(compress(small_config(family, large=large)))
    save_upstream(model, tmp_path / "suite", {})
    theirs = s3prl_upstream(export_model(str(tmp_path / "suite"), "s3prl", tmp_path / "exported"))
    assert theirs.downsample_rates == [320] * 5
    assert theirs.hidden_sizes == [32] * 5
    waveforms = torch.randn(3, max(LENGTHS), generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor(LENGTHS)
    with torch.no_grad():
        states, frames = theirs(waveforms, lengths)
        expected, expected_frames = FrozenUpstream(model)(waveforms, lengths)
    for found, wanted in zip(states, expected, strict=True):
        assert torch.equal(found, wanted)
    assert [one.tolist() for one in frames] == [one.tolist() for one in expected_frames]


def test_torch_hub_loads_the_folder(tmp_path: Path) -> None:
    folder = str(export_model("mini-hubert", "s3prl", tmp_path / "exported"))
    upstream = torch.hub.load(folder, "superb_bench", folder, source="local").eval()
    waveform = torch.randn(16_000)
    with torch.no_grad():
        found = upstream([waveform])["hidden_states"]
        expected, _ = load_upstream("mini-hubert")(waveform[None])
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert upstream.get_downsample_rates("hidden_states") == 320


@pytest.mark.slow
def test_s3prl_s_command_trains_on_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="s3prl's run_downstream.py needs tensorboardX")
    save_upstream(perturbed_model(pruned_shape(small_config("hubert"))), tmp_path / "suite", {})
    folder = export_model(str(tmp_path / "suite"), "s3prl", tmp_path / "student")
    config = {
        "runner": {"total_steps": 2, "gradient_clipping": 1, "gradient_accumulate_steps": 1, "log_step": 1,
                   "eval_step": 1000, "save_step": 2, "max_keep": 1, "eval_dataloaders": []},
        "optimizer": {"name": "Adam", "lr": 1e-4},
        "downstream_expert": {
            "datarc": {"num_workers": 0, "train_batch_size": 1, "eval_batch_size": 1},
            "modelrc": {"input_dim": 8},
        },
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    options = {"-m": "train", "-u": "superb_bench", "-k": "student", "-d": "example", "-c": "config.yaml"}
    options |= {"-p": "experiment", "--device": "cpu"}
    command = [sys.executable, str(folder / "run_downstream.py"), *(part for pair in options.items() for part in pair)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "downsample rate is 320" in result.stderr
    assert (tmp_path / "experiment" / "states-2.ckpt").is_file()


def test_int8_models_are_refused(tmp_path: Path) -> None:
    model = quantised(perturbed_model(small_config("hubert")), ["layers.0.attention.q_proj"])
    save_upstream(model, tmp_path / "int8", {})
    assert "int8" in error_of("export", str(tmp_path / "int8"), "--to", "s3prl", "--out", str(tmp_path / "out"))
