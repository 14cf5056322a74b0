"""Files of weights without settings: read where the tensors show the shape of a published model, otherwise refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from torch import nn
from torchaudio.models import wav2vec2_model, wavlm_model
from transformers import HubertConfig, HubertForCTC, UniSpeechSatConfig, UniSpeechSatModel, WavLMConfig, WavLMModel

from bench.errors import UserError
from bench.upstream import UpstreamModel, check_reference, load_upstream, save_upstream
from bench.upstream.config import uniform_config
from bench.upstream.conversion import bundle_names
from bench.upstream.conversion.weights_alone import _HEADS_OF_WIDTH
from bench.upstream.random_shapes import random_model
from tests.helpers import foreign_models

CHANNELS = [(16, kernel, stride) for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, *(2,) * 6), strict=True)]
BASE = {"hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 64}
BASE |= {"conv_dim": (16,) * 7}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def randomized(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def torchaudio_model(kind: str, make: Callable[..., nn.Module] = wav2vec2_model, **changes: Any) -> nn.Module:
    large = kind == "large"
    return randomized(
        make(
            extractor_mode="layer_norm" if large else "group_norm",
            extractor_conv_layer_config=CHANNELS,
            extractor_conv_bias=large,
            encoder_embed_dim=1024 if large else 768,
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=16,
            encoder_pos_conv_groups=16,
            encoder_num_layers=2,
            encoder_num_heads=16 if large else 12,
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=64,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=large,
            encoder_layer_drop=0.0,
            aux_num_out=None,
            **changes,
        )
    )


def last_state(path: Path, waveform: torch.Tensor) -> torch.Tensor:
    check_reference(path)
    upstream = load_upstream(path)
    assert isinstance(upstream, UpstreamModel)
    state: torch.Tensor = upstream(waveform)[0][-1]
    return state


@pytest.mark.parametrize("kind", ["base", "large"])
@pytest.mark.parametrize("is_wrapped", [False, True], ids=["bare", "wrapped"])
def test_torchaudio(kind: str, is_wrapped: bool, tmp_path: Path) -> None:
    theirs = torchaudio_model(kind)
    prefix = "model." if is_wrapped else ""
    torch.save({prefix + key: value for key, value in theirs.state_dict().items()}, tmp_path / "model.pt")
    waveform = 0.5 + torch.randn(1, 6000)
    heard = torch.nn.functional.layer_norm(waveform, waveform.shape) if kind == "large" else waveform
    torch.testing.assert_close(last_state(tmp_path / "model.pt", waveform), theirs(heard)[0], atol=1e-4, rtol=0)


def test_torchaudios_wavlm(tmp_path: Path) -> None:
    buckets = {"encoder_num_buckets": 320, "encoder_max_distance": 800}
    theirs = torchaudio_model("base", wavlm_model, **buckets)
    save_file(theirs.state_dict(), tmp_path / "any name.safetensors")
    waveform = torch.randn(1, 6000)
    found = last_state(tmp_path / "any name.safetensors", waveform)
    torch.testing.assert_close(found, theirs(waveform)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("config", "make"),
    [
        (HubertConfig(**BASE), HubertForCTC),
        (HubertConfig(**BASE, feat_proj_layer_norm=False), HubertForCTC),
        (UniSpeechSatConfig(**BASE | LARGE | {"conv_bias": False}), UniSpeechSatModel),
        (WavLMConfig(**BASE | {"hidden_size": 48, "num_attention_heads": 4, "num_buckets": 32}), WavLMModel),
    ],
    ids=["hubert", "distilhubert", "unispeech-sat", "small-wavlm"],
)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_hugging_face(config: Any, make: Any, name: str, tmp_path: Path) -> None:
    model = randomized(make(config))
    save = save_file if name.endswith("safetensors") else torch.save
    save({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / name)
    waveform = torch.randn(1, 6000)
    normalizes = config.feat_extract_norm == "layer"
    heard = torch.nn.functional.layer_norm(waveform, waveform.shape) if normalizes else waveform
    theirs = getattr(model, "hubert", model)(heard).last_hidden_state
    torch.testing.assert_close(last_state(tmp_path / name, waveform), theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("is_nested", [False, True])
def test_fairseq(is_nested: bool, tmp_path: Path) -> None:
    model, settings = foreign_models.make("hubert", encoder_embed_dim=768, encoder_attention_heads=12)
    whole = foreign_models.content("s3prl", "hubert", model, settings, normalize=False)
    torch.save(whole, tmp_path / "whole.ckpt")
    weights = whole["model_weight"]
    torch.save({"model": weights, "args": None} if is_nested else weights, tmp_path / "weights.pt")
    expected, found = load_upstream(tmp_path / "whole.ckpt"), load_upstream(tmp_path / "weights.pt")
    waveform = torch.randn(1, 6000)
    torch.testing.assert_close(found(waveform)[0], expected(waveform)[0])


def test_the_suites_own(tmp_path: Path) -> None:
    model = random_model(uniform_config("hubert", 768, 2, 12, 64, 16, large=True))
    save_upstream(model, tmp_path / "model", {})
    alone = (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model.safetensors")
    waveform = torch.randn(1, 6000)
    assert torch.equal(last_state(alone, waveform), model(waveform)[0][-1])


def test_what_is_assumed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(torchaudio_model("large").state_dict(), tmp_path / "model.pt")
    check_reference(tmp_path / "model.pt")
    for fact in ("model.pt", "torchaudio", "2 layers", "16 heads", "pre-norm", "normalised"):
        assert fact in caplog.text


def test_the_assumptions_hold_for_every_bundle() -> None:
    for name in bundle_names():
        bundle = getattr(torchaudio.pipelines, name)
        shape = bundle._params
        is_large = shape["extractor_mode"] == "layer_norm"
        assert shape["encoder_layer_norm_first"] is is_large, name
        assert bundle._normalize_waveform is is_large, name
        assert shape["encoder_num_heads"] == _HEADS_OF_WIDTH[shape["encoder_embed_dim"]], name
        assert shape.get("encoder_max_distance", 800) == 800, name


class TestRefusals:
    def refusal(self, path: Path) -> str:
        with pytest.raises(UserError) as caught:
            check_reference(path)
        message = str(caught.value)
        assert "\n" not in message
        assert path.name in message
        assert len(message.replace(str(path.parent), "")) < 340
        return message

    @pytest.mark.parametrize(
        ("family", "changes", "missing", "way"),
        [
            ("hugging face", {"hidden_size": 96}, "attention heads", "config.json"),
            ("hugging face", {"conv_kernel": (10, 3, 3, 3, 3, 2, 4)}, "stride", "config.json"),
            ("fairseq", {}, "attention heads", "'cfg'"),
            ("torchaudio", {"encoder_embed_dim": 96}, "attention heads", "from_torchaudio"),
            ("dphubert", {"encoder_embed_dim": 96}, "attention heads", "'config'"),
        ],
    )
    def test_a_size_of_its_own(
        self, family: str, changes: dict[str, Any], missing: str, way: str, tmp_path: Path
    ) -> None:
        if family == "hugging face":
            weights = HubertForCTC(HubertConfig(**BASE | changes)).state_dict()
        elif family == "fairseq":
            weights = foreign_models.make("hubert")[0].state_dict()
        else:
            weights = torchaudio_model("base").state_dict()
            weights["encoder.feature_projection.projection.weight"] = torch.ones(96, 16)
            if family == "dphubert":
                weights["feature_extractor.dummy_weight"] = torch.ones(16)
        torch.save(weights, tmp_path / "model.pt")
        message = self.refusal(tmp_path / "model.pt")
        assert missing in message
        assert way in message

    def test_pruned(self, tmp_path: Path) -> None:
        weights = torchaudio_model("base").state_dict()
        key = "encoder.transformer.layers.1.attention.q_proj.weight"
        torch.save(weights | {key: weights[key][:64]}, tmp_path / "model.pt")
        assert "pruned" in self.refusal(tmp_path / "model.pt")

    @pytest.mark.parametrize("name", ["model.safetensors", "weights.safetensors"])
    def test_another_model(self, name: str, tmp_path: Path) -> None:
        save_file({"bert.encoder.layer.0.output.dense.weight": torch.ones(2)}, tmp_path / name)
        assert "bert.encoder" in self.refusal(tmp_path / name)

    @pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
    def test_a_file_of_a_folder(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).touch()
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
        assert f"Name {tmp_path}" in self.refusal(tmp_path / name)

    def test_missing_weights_are_named(self, tmp_path: Path) -> None:
        weights = torchaudio_model("base").state_dict()
        del weights["encoder.transformer.layers.1.final_layer_norm.bias"]
        torch.save(weights, tmp_path / "model.pt")
        assert "layers.1.final_layer_norm.bias" in self.refusal(tmp_path / "model.pt")
