"""DPHuBERT's files: pruned, with gates, of Base and Large types, torn, and hostile."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model

from bench.errors import UserError
from bench.upstream import UpstreamModel, check_reference, load_upstream
from bench.upstream.conversion import read_distillation_projections

FAMILIES = ["hubert", "wavlm"]
HEADS, HEAD_DIM, UNITS, LAYERS = 4, 12, 80, 3
CONVOLUTIONS = [(20, 10, 5), (24, 3, 2), (28, 3, 2), (24, 3, 2), (20, 3, 2), (24, 2, 2), (32, 2, 2)]
COMMON = {
    "extractor_conv_layer_config": CONVOLUTIONS,
    "encoder_embed_dim": HEADS * HEAD_DIM,
    "encoder_projection_dropout": 0.11,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": LAYERS,
    "encoder_attention_dropout": 0.12,
    "encoder_ff_interm_dropout": 0.13,
    "encoder_dropout": 0.14,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
}
BUCKETS = {"encoder_num_buckets": 32, "encoder_max_distance": 12}
TYPES = {
    "base": {"extractor_mode": "group_norm", "extractor_conv_bias": False, "encoder_layer_norm_first": False},
    "large": {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True},
    "large-no-bias": {"extractor_mode": "layer_norm", "extractor_conv_bias": False, "encoder_layer_norm_first": True},
}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def torchaudio_model(family: str, kind: str) -> Wav2Vec2Model:
    make = wavlm_model if family == "wavlm" else wav2vec2_model
    sizes = {"encoder_num_heads": HEADS, "encoder_ff_interm_features": UNITS}
    model = make(**COMMON, **TYPES[kind], **sizes, **(BUCKETS if family == "wavlm" else {}))
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def dphubert_file(model: Wav2Vec2Model, family: str, kind: str, *, normalize_waveform: bool = False) -> dict:
    """Write a torchaudio model down as DPHuBERT would, unpruned."""
    state = {}
    for key, value in model.state_dict().items():
        if "in_proj_" in key:
            for name, part in zip("qkv", value.chunk(3), strict=True):
                state[key.replace("attention.in_proj_", f"{name}_proj.")] = part.clone()
        else:
            renamed = key.replace("attention.attention.", "attention.")
            renamed = renamed.replace("parametrizations.weight.original0", "weight_g")
            state[renamed.replace("parametrizations.weight.original1", "weight_v")] = value.clone()
    state["feature_extractor.dummy_weight"] = torch.ones(CONVOLUTIONS[-1][0])
    config = COMMON | TYPES[kind] | {
        "encoder_use_attention": [True] * LAYERS,
        "encoder_use_feed_forward": [True] * LAYERS,
        "encoder_ff_interm_features": [UNITS] * LAYERS,
        "normalize_waveform": normalize_waveform,
        "extractor_prune_conv_channels": False,
        "encoder_prune_attention_heads": False,
        "encoder_prune_attention_layer": False,
        "encoder_prune_feed_forward_intermediate": False,
        "encoder_prune_feed_forward_layer": False,
    }  # fmt: skip
    if family == "wavlm":
        config |= BUCKETS | {
            "encoder_total_num_heads": [HEADS] * LAYERS,
            "encoder_remaining_heads": [list(range(HEADS)) for _ in range(LAYERS)],
        }
    else:
        config |= {"encoder_num_heads": [HEADS] * LAYERS, "encoder_head_dim": HEAD_DIM}
    return {"state_dict": state, "config": config}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def drop_units_of_the_file(content: dict, model: Wav2Vec2Model, family: str) -> None:
    """Prune the file by hand, and silence the same units in torchaudio's model.

    Layer 1 loses its attention and half of its feed-forward units, layer 2 heads 0 and 2, layer 0 its feed-forward.
    """
    state, config = content["state_dict"], content["config"]
    layers = model.encoder.transformer.layers
    for key in [key for key in state if "layers.1.attention." in key or "layers.0.feed_forward." in key]:
        del state[key]
    config["encoder_use_attention"] = [True, False, True]
    config["encoder_use_feed_forward"] = [False, True, True]
    # The sizes that removed blocks keep are stale in such files.
    config["encoder_ff_interm_features"] = [UNITS - 7, UNITS // 2, UNITS]
    feed_forward = "encoder.transformer.layers.1.feed_forward."
    kept_units = torch.arange(0, UNITS, 2)
    state[feed_forward + "intermediate_dense.weight"] = state[feed_forward + "intermediate_dense.weight"][kept_units]
    state[feed_forward + "intermediate_dense.bias"] = state[feed_forward + "intermediate_dense.bias"][kept_units]
    state[feed_forward + "output_dense.weight"] = state[feed_forward + "output_dense.weight"][:, kept_units]
    attention = "encoder.transformer.layers.2.attention."
    kept = torch.cat([torch.arange(12, 24), torch.arange(36, 48)])
    for name in ("q_proj", "k_proj", "v_proj"):
        state[f"{attention}{name}.weight"] = state[f"{attention}{name}.weight"][kept]
        state[f"{attention}{name}.bias"] = state[f"{attention}{name}.bias"][kept]
    state[attention + "out_proj.weight"] = state[attention + "out_proj.weight"][:, kept]
    if family == "wavlm":
        config["encoder_remaining_heads"] = [[0, 1, 2, 3], [1, 2], [1, 3]]
    else:
        config["encoder_num_heads"] = [4, 2, 2]

    def out_proj(index: int) -> torch.nn.Linear:
        attention = layers[index].attention
        return attention.attention.out_proj if family == "wavlm" else attention.out_proj

    out_proj(1).weight.zero_()
    out_proj(1).bias.zero_()
    layers[0].feed_forward.output_dense.weight.zero_()
    layers[0].feed_forward.output_dense.bias.zero_()
    layers[1].feed_forward.output_dense.weight[:, 1::2] = 0
    out_proj(2).weight[:, :12] = 0
    out_proj(2).weight[:, 24:36] = 0


def assert_same(ours: UpstreamModel, theirs: Wav2Vec2Model) -> None:
    waveforms = torch.randn(1, 6000)
    states, _ = ours(waveforms)
    expected, _ = theirs.extract_features(waveforms)
    for state, layer in zip(states[1:-1], expected[:-1], strict=True):
        torch.testing.assert_close(state, layer, atol=1e-4, rtol=0)
    torch.testing.assert_close(states[-1], theirs(waveforms)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", TYPES)
class TestEveryType:
    def test_unpruned(self, family: str, kind: str, tmp_path: Path) -> None:
        theirs = torchaudio_model(family, kind)
        path = saved(dphubert_file(theirs, family, kind), tmp_path / "model.pth")
        check_reference(path)
        ours = load_upstream(path)
        assert not ours.training
        assert_same(ours, theirs)

    def test_pruned_with_stale_sizes(self, family: str, kind: str, tmp_path: Path) -> None:
        theirs = torchaudio_model(family, kind)
        content = dphubert_file(theirs, family, kind)
        drop_units_of_the_file(content, theirs, family)
        ours = load_upstream(saved(content, tmp_path / "model.pth"))
        assert [len(layer.heads) for layer in ours.config.layers] == [4, 0, 2]
        assert [layer.feed_forward for layer in ours.config.layers] == [0, UNITS // 2, UNITS]
        assert_same(ours, theirs)

    def test_without_dummy_weight_and_with_the_new_weight_norm(self, family: str, kind: str, tmp_path: Path) -> None:
        theirs = torchaudio_model(family, kind)
        content = dphubert_file(theirs, family, kind)
        state = content["state_dict"]
        del state["feature_extractor.dummy_weight"]
        for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
            prefix = "encoder.transformer.pos_conv_embed.conv."
            state[f"{prefix}parametrizations.weight.{new}"] = state.pop(prefix + old)
        assert_same(load_upstream(saved(content, tmp_path / "model.pth")), theirs)


class TestSinglePoints:
    def test_dummy_weight_scales_the_channels(self, tmp_path: Path) -> None:
        theirs = torchaudio_model("hubert", "large")
        content = dphubert_file(theirs, "hubert", "large")
        scale = torch.rand(CONVOLUTIONS[-1][0])
        content["state_dict"]["feature_extractor.dummy_weight"] = scale
        ours = load_upstream(saved(content, tmp_path / "model.pth"))
        waveforms = torch.randn(1, 6000)
        expected = theirs.encoder(theirs.feature_extractor(waveforms, None)[0] * scale)
        torch.testing.assert_close(ours(waveforms)[0][-1], expected, atol=1e-4, rtol=0)

    def test_normalised_waveform(self, tmp_path: Path) -> None:
        theirs = torchaudio_model("hubert", "large")
        content = dphubert_file(theirs, "hubert", "large", normalize_waveform=True)
        ours = load_upstream(saved(content, tmp_path / "model.pth"))
        waveforms = 2 + 0.3 * torch.randn(1, 6000)
        expected = theirs(torch.nn.functional.layer_norm(waveforms, waveforms.shape))[0]
        torch.testing.assert_close(ours(waveforms)[0][-1], expected, atol=1e-4, rtol=0)

    def test_wavlm_without_layer_0s_attention_has_no_position_bias(self, tmp_path: Path) -> None:
        content = dphubert_file(torchaudio_model("wavlm", "base"), "wavlm", "base")
        for key in [key for key in content["state_dict"] if "layers.0.attention." in key]:
            del content["state_dict"][key]
        content["config"]["encoder_use_attention"][0] = False
        ours = load_upstream(saved(content, tmp_path / "model.pth"))
        assert ours.config.relative_position is not None
        assert not ours.config.relative_position.has_embedding
        states, _ = ours(torch.randn(2, 6000), torch.tensor([6000, 4000]))
        assert states[-1].isfinite().all()

    def test_dropouts_come_along(self, tmp_path: Path) -> None:
        content = dphubert_file(torchaudio_model("hubert", "base"), "hubert", "base")
        dropout = load_upstream(saved(content, tmp_path / "model.pth")).config.dropout
        found = (dropout.projection, dropout.attention, dropout.feed_forward, dropout.hidden)
        assert found == (0.11, 0.12, 0.13, 0.14)

    @pytest.mark.parametrize("kind", ["pth", "ckpt"])
    def test_distillation_projections(self, kind: str, reference: Path) -> None:
        name = "dphubert_small_hubert.pth" if kind == "pth" else "dphubert_small_hubert_gated.ckpt"
        projections = read_distillation_projections(reference / name)
        assert sorted(projections) == sorted(f"{index}.{part}" for index in range(3) for part in ("weight", "bias"))
        assert projections["0.weight"].shape == (96, 96)


@pytest.mark.parametrize("family", FAMILIES)
class TestGatedCheckpoints:
    def assert_bit_equal(self, ours: UpstreamModel, expected: UpstreamModel) -> None:
        found, wanted = ours.state_dict(), expected.state_dict()
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert torch.equal(found[key], value), key

    def test_pruned_by_the_gates_exactly(self, family: str, reference: Path) -> None:
        ours = load_upstream(reference / f"dphubert_small_{family}_gated.ckpt")
        expected = load_upstream(reference / f"dphubert_small_{family}.pth")
        self.assert_bit_equal(ours, expected)
        assert ours.config.conv_layers == expected.config.conv_layers
        assert [layer.feed_forward for layer in ours.config.layers] == [
            layer.feed_forward for layer in expected.config.layers
        ]
        if family == "wavlm":
            assert ours.config == expected.config

    def test_among_all_that_lightning_saves(self, family: str, reference: Path, tmp_path: Path) -> None:
        content = torch.load(reference / f"dphubert_small_{family}_gated.ckpt", weights_only=True)
        state = content["state_dict"]
        state |= {"lambda1": torch.tensor(-1.5), "lambda2": torch.tensor(0.5)}
        state |= {
            key.replace("student_model.", "teacher_model."): value
            for key, value in state.items()
            if key.startswith("student_model.") and "log_alpha" not in key
        }
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.AdamW([weight])
        weight.grad = torch.ones(2)
        optimizer.step()
        content |= {
            "epoch": 3,
            "global_step": 1200,
            "pytorch-lightning_version": "1.8.1",
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"dirpath": "exp/ckpts", "best_model_score": None}},
            "optimizer_states": [optimizer.state_dict()],
            "lr_schedulers": [{"base_lrs": [2e-4, 0.02, -0.02], "last_epoch": 1200}],
            "hyper_parameters": {"learning_rate": 2e-4},
        }
        path = saved(content, tmp_path / "epoch=3-step=1200.ckpt")
        check_reference(path)
        expected = load_upstream(reference / f"dphubert_small_{family}.pth")
        self.assert_bit_equal(load_upstream(path), expected)

    def test_random_state_of_the_caller_is_left_alone(self, family: str, reference: Path) -> None:
        before = torch.get_rng_state()
        load_upstream(reference / f"dphubert_small_{family}_gated.ckpt")
        assert torch.equal(torch.get_rng_state(), before)


class Malicious:
    """Runs a command when unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.witness}",)


class TestRefusals:
    def refusal(self, path: Path) -> str:
        with pytest.raises(UserError) as caught:
            check_reference(path)
        with pytest.raises(UserError):
            load_upstream(path)
        message = str(caught.value)
        assert "\n" not in message
        assert str(path) in message
        return message

    @pytest.fixture
    def content(self) -> dict:
        return dphubert_file(torchaudio_model("hubert", "base"), "hubert", "base")

    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
    def test_code_is_never_executed(self, content: dict, legacy: bool, tmp_path: Path) -> None:
        witness = tmp_path / "executed"
        path = tmp_path / "model.pth"
        content["surprise"] = Malicious(witness)
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        assert "not executed" in self.refusal(path)
        assert not witness.exists()

    @pytest.mark.parametrize("protocol", [0, 2, 4])
    def test_code_in_a_plain_pickle_is_never_executed(self, protocol: int, tmp_path: Path) -> None:
        witness = tmp_path / "executed"
        path = tmp_path / "model.pth"
        path.write_bytes(pickle.dumps({"state_dict": Malicious(witness)}, protocol=protocol))
        assert "executed" in self.refusal(path)
        assert not witness.exists()

    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
    @pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.999])
    def test_truncated(self, content: dict, kept: float, legacy: bool, tmp_path: Path) -> None:
        path = tmp_path / "model.pth"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        self.refusal(path)

    def test_old_files_of_torch_are_read(self, content: dict, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=False)
        load_upstream(tmp_path / "model.pth")

    def test_garbage(self, tmp_path: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        for index in range(20):
            path = tmp_path / f"{index}.pth"
            path.write_bytes(bytes(torch.randint(256, (300,), generator=generator).tolist()))
            self.refusal(path)

    def test_bare_state_dict(self, content: dict, tmp_path: Path) -> None:
        assert "'config'" in self.refusal(saved(content["state_dict"], tmp_path / "model.pth"))

    def test_state_dict_with_other_things_in_it(self, content: dict, tmp_path: Path) -> None:
        content["state_dict"]["step"] = 3
        assert "'step'" in self.refusal(saved(content, tmp_path / "model.pth"))

    def test_another_architectures_config(self, content: dict, tmp_path: Path) -> None:
        content["config"] = {"d_model": 512, "decoder_layers": 6}
        assert "extractor_mode" in self.refusal(saved(content, tmp_path / "model.pth"))

    def test_lists_of_another_length(self, content: dict, tmp_path: Path) -> None:
        content["config"]["encoder_num_heads"] = [4, 4]
        assert "encoder_num_layers" in self.refusal(saved(content, tmp_path / "model.pth"))

    def test_no_channels(self, content: dict, tmp_path: Path) -> None:
        content["config"]["extractor_conv_layer_config"] = [(0, 10, 5)]
        assert "extractor_conv_layer_config" in self.refusal(saved(content, tmp_path / "model.pth"))

    def test_unknown_weight(self, content: dict, tmp_path: Path) -> None:
        content["state_dict"]["decoder.weight"] = torch.zeros(1)
        assert "decoder.weight" in self.refusal(saved(content, tmp_path / "model.pth"))

    def test_missing_positional_weight(self, content: dict, tmp_path: Path) -> None:
        del content["state_dict"]["encoder.transformer.pos_conv_embed.conv.weight_g"]
        assert "positional_convolution" in self.refusal(saved(content, tmp_path / "model.pth"))

    def test_wrong_shape(self, content: dict, tmp_path: Path) -> None:
        content["config"]["encoder_ff_interm_features"] = [UNITS, UNITS + 1, UNITS]
        assert "layers.1.feed_forward" in self.refusal(saved(content, tmp_path / "model.pth"))

    def test_gates_that_do_not_fit(self, content: dict, tmp_path: Path) -> None:
        key = "encoder.transformer.layers.0.attention.hard_concrete_for_heads.log_alpha"
        content["state_dict"][key] = torch.zeros(HEADS + 1)
        assert "head/" in self.refusal(saved(content, tmp_path / "model.pth"))
