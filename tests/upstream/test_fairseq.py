"""Checkpoints of fairseq, s3prl and Microsoft's WavLM: hidden states equal those of s3prl's own upstreams."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import UserError
from bench.upstream import UpstreamModel, check_reference, load_upstream, reference_config
from tests.helpers.foreign_models import LARGE, content, expected_states, make

LENGTHS = [6400, 4700]
"""Samples. s3prl's HuBERT and WavLM mask padding in steps of 6400 // 19 = 336 samples: here 14 frames, as ours."""
TYPES = {"base": {}, "large": LARGE, "large-no-bias": LARGE | {"conv_bias": False}}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    logging.disable(logging.INFO)
    torch.manual_seed(0)
    with torch.no_grad():
        yield
    logging.disable(logging.NOTSET)


def saved(path: Path, layout: str, family: str, *, normalize: bool = False, **changes: Any) -> Path:
    model, settings = make(family, **changes)
    torch.save(content(layout, family, model, settings, normalize=normalize), path)
    return path


def own_format(family: str) -> str:
    return "microsoft" if family == "wavlm" else "s3prl"


def assert_same_states(ours: UpstreamModel, family: str, path: Path) -> None:
    waveforms = [0.1 + torch.randn(length) for length in LENGTHS]
    for waveform in waveforms:
        states, _ = ours(waveform[None])
        theirs = expected_states(family, path, [waveform])
        assert len(states) == len(theirs) == 4
        for our_state, their_state in zip(states, theirs, strict=True):
            torch.testing.assert_close(our_state, their_state, atol=1e-4, rtol=0)
    padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    states, frame_lengths = ours(padded, torch.tensor(LENGTHS))
    for our_state, their_state in zip(states, expected_states(family, path, waveforms), strict=True):
        for index, frames in enumerate(frame_lengths.tolist()):
            torch.testing.assert_close(our_state[index, :frames], their_state[index, :frames], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
def test_states_equal_s3prls(family: str, kind: str, tmp_path: Path) -> None:
    normalize = kind != "base"
    path = saved(tmp_path / "model.pt", own_format(family), family, normalize=normalize, **TYPES[kind])
    check_reference(path)
    ours = load_upstream(path)
    assert isinstance(ours, UpstreamModel)
    assert ours.config.architecture == family
    assert ours.config.normalize_waveform is normalize
    assert not ours.training
    assert_same_states(ours, family, path)


@pytest.mark.parametrize("layout", ["fairseq", "fine-tuned"])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_fairseqs_layouts_hold_the_same_model(family: str, layout: str, tmp_path: Path) -> None:
    model, settings = make(family, **LARGE)
    loaded = []
    for name in ("s3prl", layout):
        torch.save(content(name, family, model, settings, normalize=True), tmp_path / f"{name}.pt")
        loaded.append(load_upstream(tmp_path / f"{name}.pt"))
    assert loaded[0].config == loaded[1].config
    for key, value in loaded[0].state_dict().items():
        assert torch.equal(value, loaded[1].state_dict()[key]), key


def test_dropouts_and_convolutions(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", "s3prl", "hubert")
    config = reference_config(path)
    assert config is not None
    dropout = config.dropout
    assert (dropout.projection, dropout.attention, dropout.feed_forward, dropout.hidden) == (0.11, 0.12, 0.13, 0.14)
    assert [layer.channels for layer in config.conv_layers] == [20, 24, 24, 28, 20, 32, 32]
    assert [layer.kernel for layer in config.conv_layers] == [10, 3, 3, 3, 3, 2, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"activation_fn": "relu"},
        {"layer_type": "conformer"},
        {"pos_conv_depth": 5},
        {"quantize_input": True},
        {"extractor_mode": "none"},
        {"encoder_attention_heads": 5},
        {"encoder_layers": 10**9},
        {"conv_feature_layers": "[(512,10,5)] * 10**9"},
        {"conv_feature_layers": "__import__('os').getcwd()"},
        {"conv_feature_layers": "[(512,10,5)] + " * 100_000},
        {"conv_feature_layers": [[512, 10, 5]]},
        {"conv_feature_layers": ""},
        {"relative_position_embedding": True},
        {"encoder_embed_dim": 96},
    ],
    ids=lambda change: "-".join(f"{key}-{value}"[:40] for key, value in change.items()),
)
def test_settings_that_do_not_fit(change: dict[str, Any], tmp_path: Path) -> None:
    model, settings = make("hubert")
    torch.save(content("s3prl", "hubert", model, settings | change, normalize=False), tmp_path / "model.pt")
    with pytest.raises(UserError) as caught:
        check_reference(tmp_path / "model.pt")
    assert "model.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"remove": "encoder.layers.1.fc1.bias"}, {"add": "encoder.layers.1.fc3.bias"}])
def test_weights_are_counted(change: dict[str, str], tmp_path: Path) -> None:
    model, settings = make("hubert")
    whole = content("s3prl", "hubert", model, settings, normalize=False)
    weights = dict(whole["model_weight"])
    if "remove" in change:
        del weights[change["remove"]]
    else:
        weights[change["add"]] = torch.ones(2)
    torch.save(whole | {"model_weight": weights}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"layers\.1\.(?:feed_forward\.intermediate_dense|fc3)\.bias"):
        check_reference(tmp_path / "model.pt")


def test_defaults_are_fairseqs(tmp_path: Path) -> None:
    """A checkpoint without settings would have Base's shape, which the weights then lack."""
    model, _ = make("hubert")
    torch.save(content("s3prl", "hubert", model, {}, normalize=False), tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"layers\.10\."):
        check_reference(tmp_path / "model.pt")
