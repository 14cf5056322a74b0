"""torchaudio's models and bundles: every layer's output equals torchaudio's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchaudio
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model

from bench.errors import UserError
from bench.upstream import load_upstream
from bench.upstream.conversion import bundle_names, from_torchaudio

SMALL = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [
        (20, 10, 5), (24, 3, 2), (28, 3, 2), (24, 3, 2), (20, 3, 2), (24, 2, 2), (32, 2, 2),
    ],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 48,
    "encoder_projection_dropout": 0.11,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.12,
    "encoder_ff_interm_features": 80,
    "encoder_ff_interm_dropout": 0.13,
    "encoder_dropout": 0.14,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
}  # fmt: skip
LARGE = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
WAVLM = {"encoder_num_buckets": 32, "encoder_max_distance": 12}
TYPES = {"base": {}, "large": LARGE, "large-no-bias": LARGE | {"extractor_conv_bias": False}}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def randomized(model: Wav2Vec2Model) -> Wav2Vec2Model:
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def assert_same_layers(ours: torch.nn.Module, theirs: torch.nn.Module, lengths: torch.Tensor | None) -> None:
    """Compare raw layer outputs: torchaudio leaves the final LayerNorm of pre-norm models to its `forward`."""
    waveforms = torch.randn(1 if lengths is None else 2, 6000)
    states, _ = ours.distillation_states(waveforms, lengths)
    expected, _ = theirs.extract_features(waveforms, lengths)
    assert len(states) == len(expected) + 1
    for state, layer in zip(states[1:], expected, strict=True):
        torch.testing.assert_close(state, layer, atol=1e-4, rtol=0)


class TestModelsInMemory:
    @pytest.mark.parametrize("changes", TYPES.values(), ids=TYPES)
    def test_wav2vec2_and_hubert(self, changes: dict[str, object]) -> None:
        theirs = randomized(wav2vec2_model(**(SMALL | changes)))
        ours = from_torchaudio(theirs, normalize_waveform=False)
        assert_same_layers(ours, theirs, None)
        assert_same_layers(ours, theirs, torch.tensor([6000, 4321]))

    @pytest.mark.parametrize("changes", TYPES.values(), ids=TYPES)
    def test_wavlm(self, changes: dict[str, object]) -> None:
        theirs = randomized(wavlm_model(**(SMALL | WAVLM | changes)))
        ours = from_torchaudio(theirs, normalize_waveform=False)
        assert ours.config.architecture == "wavlm"
        assert_same_layers(ours, theirs, None)

    def test_last_state_is_the_models_output(self) -> None:
        theirs = randomized(wav2vec2_model(**(SMALL | LARGE)))
        ours = from_torchaudio(theirs, normalize_waveform=False)
        waveform = torch.randn(1, 6000)
        torch.testing.assert_close(ours(waveform)[0][-1], theirs(waveform)[0], atol=1e-4, rtol=0)

    def test_normalised_waveform(self) -> None:
        theirs = randomized(wav2vec2_model(**(SMALL | LARGE)))
        ours = from_torchaudio(theirs, normalize_waveform=True)
        waveform = 3 + 0.1 * torch.randn(1, 6000)
        heard = torch.nn.functional.layer_norm(waveform, waveform.shape)
        torch.testing.assert_close(ours(waveform)[0][-1], theirs(heard)[0], atol=1e-4, rtol=0)

    def test_head_is_left_out_and_dropouts_come_along(self) -> None:
        ours = from_torchaudio(wav2vec2_model(**(SMALL | {"aux_num_out": 29})), normalize_waveform=False)
        dropout = ours.config.dropout
        found = (dropout.projection, dropout.attention, dropout.feed_forward, dropout.hidden)
        assert found == (0.11, 0.12, 0.13, 0.14)

    def test_the_source_is_not_shared(self) -> None:
        theirs = randomized(wav2vec2_model(**SMALL))
        ours = from_torchaudio(theirs, normalize_waveform=False)
        before = ours.layers[0].attention.q_proj.weight.clone()
        theirs.encoder.transformer.layers[0].attention.q_proj.weight.zero_()
        assert torch.equal(ours.layers[0].attention.q_proj.weight, before)

    def test_another_kind_of_model(self) -> None:
        with pytest.raises(UserError, match="Linear"):
            from_torchaudio(torch.nn.Linear(2, 2), normalize_waveform=False)


class TestBundles:
    """Real bundles at a small size: their shapes are replaced, and torch hub's cache holds random weights."""

    @pytest.fixture
    def hub_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        return folder

    @pytest.mark.parametrize(
        ("name", "changes", "architecture", "normalizes"),
        [
            ("HUBERT_BASE", {}, "hubert", False),
            ("HUBERT_LARGE", LARGE, "hubert", True),
            ("WAV2VEC2_ASR_BASE_960H", {"aux_num_out": 29}, "wav2vec2", False),
            ("WAVLM_LARGE", LARGE | WAVLM, "wavlm", True),
            ("MMS_FA", LARGE | {"aux_num_out": 28}, "wav2vec2", True),
        ],
    )
    def test_from_the_cache(
        self,
        name: str,
        changes: dict[str, object],
        architecture: str,
        normalizes: bool,
        hub_cache: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        bundle = getattr(torchaudio.pipelines, name)
        shape = SMALL | changes
        monkeypatch.setattr(bundle, "_params", shape)
        theirs = randomized((wavlm_model if architecture == "wavlm" else wav2vec2_model)(**shape))
        weights = theirs.state_dict()
        if "aux.weight" in weights and getattr(bundle, "_remove_aux_axis", None):
            # Bundles drop a few unused labels on loading.
            rows = shape["aux_num_out"] + len(bundle._remove_aux_axis)
            weights |= {"aux.weight": torch.zeros(rows, 48), "aux.bias": torch.zeros(rows)}
        torch.save(weights, hub_cache / bundle._path.rsplit("/", maxsplit=1)[-1])
        ours = load_upstream(name)
        assert ours.config.architecture == architecture
        assert ours.config.normalize_waveform is normalizes
        assert not ours.training
        waveform = torch.randn(1, 6000)
        heard = torch.nn.functional.layer_norm(waveform, waveform.shape) if normalizes else waveform
        expected = theirs.encoder(theirs.feature_extractor(heard, None)[0])
        torch.testing.assert_close(ours(waveform)[0][-1], expected, atol=1e-4, rtol=0)

    def test_torn_file(self, hub_cache: Path) -> None:
        (hub_cache / torchaudio.pipelines.HUBERT_BASE._path).write_bytes(b"PK\x03\x04 half a file")
        with pytest.raises(UserError, match="HUBERT_BASE"):
            load_upstream("HUBERT_BASE")

    def test_names(self) -> None:
        assert {"HUBERT_BASE", "HUBERT_LARGE", "WAV2VEC2_BASE", "WAV2VEC2_LARGE_LV60K", "WAVLM_BASE_PLUS"} <= set(
            bundle_names()
        )
