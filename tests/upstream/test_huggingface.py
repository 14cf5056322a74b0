"""Hugging Face folders: hidden states equal transformers' own, whatever the class, type and file format."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from transformers import (
    BertConfig,
    BertModel,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    UniSpeechConfig,
    UniSpeechForPreTraining,
    UniSpeechModel,
    UniSpeechSatConfig,
    UniSpeechSatForPreTraining,
    UniSpeechSatForXVector,
    UniSpeechSatModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    Wav2Vec2ForXVector,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMForCTC,
    WavLMModel,
)

from bench.errors import UserError
from bench.upstream import check_reference, load_upstream

FAMILIES = {
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm": (WavLMConfig, WavLMModel),
    "unispeech": (UniSpeechConfig, UniSpeechModel),
    "unispeech-sat": (UniSpeechSatConfig, UniSpeechSatModel),
}
SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "conv_dim": (20, 24, 28, 24, 20, 24, 32),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_codevectors_per_group": 4,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "tdnn_dim": (16, 16, 16, 16, 16),
    "xvector_output_dim": 16,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
LENGTHS = torch.tensor([6000, 4321])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def small_config(family: str, **changes: object) -> transformers.PreTrainedConfig:
    config_type = FAMILIES[family][0]
    known = {key: value for key, value in SMALL.items() if hasattr(config_type(), key)}
    return config_type(**(known | changes))


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """Make every weight matter: freshly built models have ones and zeros that hide a swap."""
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def expected_states(model: torch.nn.Module, waveforms: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
    """SUPERB's states by hooks, as what `hidden_states` holds differs between versions of transformers."""
    captured: list[torch.Tensor] = []
    hooks = [model.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))]
    for layer in model.encoder.layers:
        hooks.append(
            layer.register_forward_hook(
                lambda _module, _inputs, output: captured.append(output[0] if isinstance(output, tuple) else output)
            )
        )
    last = model(waveforms, attention_mask=mask).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*captured[:-1], last]


def assert_same_states(folder: Path, model: torch.nn.Module) -> None:
    upstream = load_upstream(str(folder))
    waveforms = torch.randn(2, 6000) * (torch.arange(6000) < LENGTHS[:, None])
    for index, length in enumerate(LENGTHS.tolist()):
        single = waveforms[index : index + 1, :length]
        states, _ = upstream(single)
        for ours, theirs in zip(states, expected_states(model, single, None), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    mask = (torch.arange(6000) < LENGTHS[:, None]).long()
    states, frame_lengths = upstream(waveforms, LENGTHS)
    assert frame_lengths.tolist() == [18, 13]
    for ours, theirs in zip(states, expected_states(model, waveforms, mask), strict=True):
        for utterance, frames in enumerate(frame_lengths.tolist()):
            torch.testing.assert_close(ours[utterance, :frames], theirs[utterance, :frames], atol=1e-4, rtol=0)


class TestHiddenStates:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("changes", [{}, LARGE, LARGE | {"conv_bias": False}], ids=["base", "large", "no-bias"])
    def test_equal_transformers(self, family: str, changes: dict[str, object], tmp_path: Path) -> None:
        model = randomized(FAMILIES[family][1](small_config(family, **changes)))
        model.save_pretrained(tmp_path)
        assert_same_states(tmp_path, model)
        check_reference(tmp_path)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_last_state_of_pre_norm_models_is_normalised(self, family: str, tmp_path: Path) -> None:
        """As SUPERB's. transformers since version 5 gives it as ``last_hidden_state``, not in ``hidden_states``."""
        model = randomized(FAMILIES[family][1](small_config(family, **LARGE)))
        model.save_pretrained(tmp_path)
        waveform = torch.randn(1, 6000)
        states, _ = load_upstream(tmp_path)(waveform)
        theirs = model(waveform, output_hidden_states=True)
        torch.testing.assert_close(states[-1], theirs.last_hidden_state, atol=1e-4, rtol=0)
        raw = theirs.hidden_states[-1]
        if not torch.equal(raw, theirs.last_hidden_state):
            torch.testing.assert_close(model.encoder.layer_norm(raw), states[-1], atol=1e-4, rtol=0)

    @pytest.mark.parametrize(
        ("family", "changes"),
        [
            ("hubert", {"feat_proj_layer_norm": False}),
            ("wav2vec2", {"num_conv_pos_embeddings": 15, "num_conv_pos_embedding_groups": 2}),
            ("unispeech", {"num_conv_pos_embeddings": 15, "layer_norm_eps": 1e-3}),
            ("unispeech-sat", {"do_stable_layer_norm": True}),
            ("wavlm", {"num_buckets": 32, "max_bucket_distance": 12}),
            ("wav2vec2", {"conv_dim": (8, 12, 16), "conv_kernel": (80, 4, 2), "conv_stride": (40, 4, 2)}),
        ],
        ids=["distilhubert", "odd-positional", "unispeech", "unispeech-sat", "buckets", "three-convolutions"],
    )
    def test_equal_for_rarer_options(self, family: str, changes: dict[str, object], tmp_path: Path) -> None:
        model = randomized(FAMILIES[family][1](small_config(family, **changes)))
        model.save_pretrained(tmp_path)
        upstream = load_upstream(tmp_path)
        waveform = torch.randn(1, 6000)
        for ours, theirs in zip(upstream(waveform)[0], expected_states(model, waveform, None), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)

    @pytest.mark.parametrize(
        ("model_type", "family"),
        [
            (HubertForCTC, "hubert"),
            (Wav2Vec2ForCTC, "wav2vec2"),
            (Wav2Vec2ForPreTraining, "wav2vec2"),
            (Wav2Vec2ForXVector, "wav2vec2"),
            (WavLMForCTC, "wavlm"),
            (UniSpeechForPreTraining, "unispeech"),
            (UniSpeechSatForPreTraining, "unispeech-sat"),
            (UniSpeechSatForXVector, "unispeech-sat"),
        ],
    )
    def test_heads_are_left_out(self, model_type: type, family: str, tmp_path: Path) -> None:
        model = randomized(model_type(small_config(family)))
        model.save_pretrained(tmp_path)
        assert_same_states(tmp_path, getattr(model, model.base_model_prefix))


class TestFileFormats:
    @pytest.fixture
    def model(self) -> torch.nn.Module:
        return randomized(HubertModel(small_config("hubert")))

    def test_sharded_safetensors(self, model: torch.nn.Module, tmp_path: Path) -> None:
        model.save_pretrained(tmp_path, max_shard_size="100KB")
        assert (tmp_path / "model.safetensors.index.json").exists()
        assert_same_states(tmp_path, model)

    @pytest.mark.parametrize("spelling", ["old", "new"])
    def test_pytorch_bin_with_either_spelling_of_weight_norm(
        self, model: torch.nn.Module, spelling: str, tmp_path: Path
    ) -> None:
        model.config.save_pretrained(tmp_path)
        weights = model.state_dict()
        if spelling == "old":
            weights = {
                key.replace("parametrizations.weight.original0", "weight_g").replace(
                    "parametrizations.weight.original1", "weight_v"
                ): value
                for key, value in weights.items()
            }
            assert "encoder.pos_conv_embed.conv.weight_g" in weights
        torch.save(weights, tmp_path / "pytorch_model.bin")
        assert_same_states(tmp_path, model)

    def test_half_precision_is_read_as_float32(self, model: torch.nn.Module, tmp_path: Path) -> None:
        model.half().save_pretrained(tmp_path)
        upstream = load_upstream(tmp_path)
        assert {value.dtype for value in upstream.state_dict().values()} == {torch.float32}
        projection = model.feature_projection.projection.weight.float()
        assert torch.equal(upstream.feature_projection.projection.weight, projection)


class TestConfiguration:
    def test_dropouts_come_along(self, tmp_path: Path) -> None:
        config = small_config(
            "hubert", feat_proj_dropout=0.11, attention_dropout=0.12, activation_dropout=0.13, hidden_dropout=0.14
        )
        HubertModel(config).save_pretrained(tmp_path)
        dropout = load_upstream(tmp_path).config.dropout
        found = (dropout.projection, dropout.attention, dropout.feed_forward, dropout.hidden)
        assert found == (0.11, 0.12, 0.13, 0.14)

    @pytest.mark.parametrize("normalizes", [True, False])
    def test_large_follows_the_preprocessor(self, normalizes: bool, tmp_path: Path) -> None:
        model = randomized(HubertModel(small_config("hubert", **LARGE)))
        model.save_pretrained(tmp_path)
        extractor = Wav2Vec2FeatureExtractor(do_normalize=normalizes)
        extractor.save_pretrained(tmp_path)
        upstream = load_upstream(tmp_path)
        assert upstream.config.normalize_waveform is normalizes
        waveform = 3 + 0.1 * torch.randn(6000)
        heard = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        for ours, theirs in zip(upstream(waveform[None])[0], expected_states(model, heard, None), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)

    def test_large_follows_a_newer_processor(self, tmp_path: Path) -> None:
        HubertModel(small_config("hubert", **LARGE)).save_pretrained(tmp_path)
        (tmp_path / "processor_config.json").write_text('{"feature_extractor": {"do_normalize": true}}')
        assert load_upstream(tmp_path).config.normalize_waveform

    def test_large_without_preprocessor_hears_waveforms_as_they_are(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        HubertModel(small_config("hubert", **LARGE)).save_pretrained(tmp_path)
        with caplog.at_level(logging.WARNING):
            assert not load_upstream(tmp_path).config.normalize_waveform
        assert "preprocessor_config.json" in caplog.text

    def test_base_is_never_normalised(self, tmp_path: Path) -> None:
        HubertModel(small_config("hubert")).save_pretrained(tmp_path)
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
        assert not load_upstream(tmp_path).config.normalize_waveform


class TestRefusals:
    def folder(self, tmp_path: Path, **changes: object) -> Path:
        HubertModel(small_config("hubert")).save_pretrained(tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return tmp_path

    def refusal(self, folder: Path) -> str:
        with pytest.raises(UserError) as caught:
            check_reference(folder)
        with pytest.raises(UserError):
            load_upstream(folder)
        message = str(caught.value)
        assert "\n" not in message
        return message

    def test_another_architecture(self, tmp_path: Path) -> None:
        BertModel(
            BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
        ).save_pretrained(tmp_path)
        assert "'bert'" in self.refusal(tmp_path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"hidden_act": "relu"},
            {"feat_extract_activation": "gelu_new"},
            {"conv_pos_batch_norm": True},
            {"add_adapter": True},
            {"adapter_attn_dim": 16},
            {"conv_stride": [5, 2]},
            {"hidden_size": "wide"},
            {"num_attention_heads": 0},
            {"conv_dim": []},
            {"num_conv_pos_embedding_groups": 7},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_options_that_we_do_not_have(self, changes: dict[str, object], tmp_path: Path) -> None:
        assert "config.json" in self.refusal(self.folder(tmp_path, **changes))

    def test_shape_that_the_weights_do_not_have(self, tmp_path: Path) -> None:
        assert "layers.2" in self.refusal(self.folder(tmp_path, num_hidden_layers=2))

    def test_missing_weights_are_named(self, tmp_path: Path) -> None:
        model = HubertModel(small_config("hubert"))
        model.config.save_pretrained(tmp_path)
        weights = {key: value for key, value in model.state_dict().items() if "pos_conv_embed.conv.param" not in key}
        torch.save(weights, tmp_path / "pytorch_model.bin")
        assert "positional_convolution.conv.parametrizations.weight.original0" in self.refusal(tmp_path)

    def test_unknown_weights_are_named(self, tmp_path: Path) -> None:
        model = HubertModel(small_config("hubert"))
        model.config.save_pretrained(tmp_path)
        torch.save(model.state_dict() | {"surprise.weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
        assert "surprise.weight" in self.refusal(tmp_path)

    def test_no_weights(self, tmp_path: Path) -> None:
        small_config("hubert").save_pretrained(tmp_path)
        assert "model.safetensors" in self.refusal(tmp_path)

    def test_torn_safetensors(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path) / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        assert "model.safetensors" in self.refusal(tmp_path)

    @pytest.mark.parametrize("content", ["{}", '{"weight_map": ["a.safetensors"]}', '{"weight_map": {"a": 1}}'])
    def test_broken_index(self, content: str, tmp_path: Path) -> None:
        small_config("hubert").save_pretrained(tmp_path)
        (tmp_path / "model.safetensors.index.json").write_text(content)
        assert "weight_map" in self.refusal(tmp_path)

    def test_missing_shard(self, tmp_path: Path) -> None:
        HubertModel(small_config("hubert")).save_pretrained(tmp_path, max_shard_size="100KB")
        shard = sorted(tmp_path.glob("model-*.safetensors"))[0]
        shard.unlink()
        assert shard.name in self.refusal(tmp_path)
