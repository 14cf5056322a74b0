"""The filter bank baseline equals s3prl's own upstream."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Upstream
from bench.upstream import FbankUpstream, load_upstream
from bench.upstream.fbank import count_fbank_macs, superb_fbank_macs

# s3prl's extracter imports nothing but torch and torchaudio, but its package does not import with today's torchaudio.
EXTRACTER = """
import importlib.util, sys, numpy, torch, yaml
folder, source, target = sys.argv[1:]
spec = importlib.util.spec_from_file_location("extracter", folder + "/extracter.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with open(folder + "/fbank_no_cmvn.yaml") as file:
    extracter, dim, _ = module.get_extracter(yaml.safe_load(file))
assert dim == 240, dim
with numpy.load(source) as waveforms:
    numpy.savez(target, **{name: extracter(torch.from_numpy(waveforms[name])).numpy() for name in waveforms})
"""


@pytest.fixture
def waveforms() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(length, generator=generator) for length in (16_000, 12_345, 400, 5_000)]
    # Digital silence meets the logarithm's floor.
    noise[3][2_000:4_000] = 0
    return [0.1 * waveform for waveform in noise]


@pytest.fixture
def expected(waveforms: list[torch.Tensor], tmp_path: Path) -> list[torch.Tensor]:
    package = importlib.util.find_spec("s3prl")
    assert package is not None
    assert package.submodule_search_locations is not None
    baseline = Path(package.submodule_search_locations[0]) / "upstream" / "baseline"
    source, target = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(source, **{str(index): waveform.numpy() for index, waveform in enumerate(waveforms)})
    subprocess.run([sys.executable, "-c", EXTRACTER, str(baseline), str(source), str(target)], check=True)
    with np.load(target) as features:
        return [torch.from_numpy(features[str(index)]) for index in range(len(waveforms))]


def test_equals_s3prl_alone_and_in_a_batch(waveforms: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    upstream = FbankUpstream()
    for waveform, features in zip(waveforms, expected, strict=True):
        states, frame_lengths = upstream(waveform[None])
        assert frame_lengths.tolist() == [len(features)]
        torch.testing.assert_close(states[0][0], features, atol=1e-4, rtol=0)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    batch = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    states, frame_lengths = upstream(batch, lengths)
    assert len(states) == 1
    assert states[0].shape == (4, 98, 240)
    assert frame_lengths.tolist() == [98, 75, 1, 29]
    for index, features in enumerate(expected):
        torch.testing.assert_close(states[0][index, : len(features)], features, atol=1e-4, rtol=0)
        assert not states[0][index, len(features) :].any()


def test_is_an_upstream() -> None:
    upstream = load_upstream("fbank")
    assert isinstance(upstream, FbankUpstream)
    assert isinstance(upstream, Upstream)
    assert (upstream.stride, upstream.num_layers, upstream.dim) == (160, 0, 240)
    assert not list(upstream.parameters())
    assert not upstream.training


def test_too_short_an_utterance_is_refused() -> None:
    with pytest.raises(ValueError, match="399"):
        FbankUpstream()(torch.randn(2, 1000), torch.tensor([1000, 399]))


@pytest.mark.parametrize("num_samples", [400, 559, 560, 16_000, 40_123])
def test_macs_equal_torch_s_counter(num_samples: int) -> None:
    with FlopCounterMode(display=False) as counter:
        FbankUpstream()(torch.randn(1, num_samples))
    assert counter.get_total_flops() == 2 * count_fbank_macs(num_samples)


def test_macs_are_superb_s() -> None:
    # Source: the SUPERB paper's table of MACs, 0.4791 G for FBANK.
    assert round(superb_fbank_macs().macs_superb / 1e9, 4) == 0.4791
