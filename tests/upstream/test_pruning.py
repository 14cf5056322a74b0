"""Structural pruning against the reference implementation's files, and against masked models."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.cost import count_dphubert_parameters, kept_units
from bench.upstream.gates import UNITS, Gates
from bench.upstream.pruning import prune, pruned_config
from tests.helpers.reference_names import BASE_CONFIGS, gate_key, small_gated, small_pruned

TRUTH = Path(__file__).parent.parent / "reference"
FULL_SIZE = json.loads((TRUTH / "gates.json").read_text())["pruned_full"]
SMALL = {"positional_kernel": 16, "positional_groups": 4}
SHAPES = {
    "hubert": uniform_config("hubert", 48, 3, 4, 40, 16, **SMALL),
    "wav2vec2-large": uniform_config("wav2vec2", 48, 3, 4, 40, 16, large=True, **SMALL),
    "wavlm": uniform_config("wavlm", 48, 3, 4, 40, 16, **SMALL),
    "wavlm-large": uniform_config("wavlm", 48, 3, 4, 40, 16, large=True, **SMALL),
    "distilhubert": uniform_config("hubert", 48, 3, 4, 40, 16, projection_layer_norm=False, **SMALL),
}


def make_model(shape: str) -> UpstreamModel:
    torch.manual_seed(1)
    model = UpstreamModel(SHAPES[shape]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def random_gates(model: UpstreamModel, units, seed: int = 0) -> Gates:
    torch.manual_seed(seed)
    gates = Gates(model, units).eval()
    for key, gate in gates.items():
        is_layer = key.startswith(("attlayer", "ffnlayer"))
        torch.nn.init.normal_(gate.log_alpha, mean=1.0 if is_layer else -1.5, std=1.5)
    return gates


class TestReferenceFiles:
    @pytest.mark.parametrize("name", ["hubert", "wavlm"])
    def test_small_models_bit_for_bit(self, name):
        model, state = small_gated(TRUTH / f"dphubert_small_{name}_gated.ckpt")
        gates = Gates(model, UNITS)
        gates.load_state_dict(state)
        pruned, expected = prune(model, gates.hardened_masks()), small_pruned(TRUTH / f"dphubert_small_{name}.pth")
        assert kept_units(pruned.config) == kept_units(expected.config)
        if name == "wavlm":
            assert pruned.config == expected.config
        assert pruned.state_dict().keys() == expected.state_dict().keys()
        for key, weight in expected.state_dict().items():
            assert torch.equal(pruned.state_dict()[key], weight), key

    @pytest.mark.parametrize("tag", FULL_SIZE)
    def test_full_size_shape(self, tag):
        truth = FULL_SIZE[tag]
        config = BASE_CONFIGS[truth["config_of"]]
        with torch.device("meta"):
            gates = Gates(UpstreamModel(config), truth["pruning_units"]).to_empty(device="cpu")
        arrays = np.load(TRUTH / "gates.npz")
        paths = [path for path in arrays.files if path.startswith(f"{tag}/")]
        gates.load_state_dict(
            {
                gate_key(path.removeprefix(f"{tag}/").removesuffix(".log_alpha")) + ".log_alpha": torch.tensor(
                    arrays[path]
                )
                for path in paths
            }
        )
        assert gates.expected_parameters().item() == pytest.approx(truth["expected_params"], rel=2e-6)
        masks = gates.hardened_masks()
        for path, digest in truth["kept_index_sha16_int64"].items():
            mask = masks[gate_key(path)]
            kept = mask.nonzero().flatten().numpy().astype(np.int64)
            assert hashlib.sha256(kept.tobytes()).hexdigest()[:16] == digest
            assert mask.double().sum().item() == pytest.approx(truth["soft_mask_sum"][path], rel=1e-6)
        pruned = pruned_config(config, masks)
        assert count_dphubert_parameters(pruned) == truth["pruned_params_exact"]
        conv = truth["pruned_config"]["extractor_conv_layer_config"]
        assert [[layer.channels, layer.kernel, layer.stride] for layer in pruned.conv_layers] == conv


class TestEqualsTheMaskedModel:
    WAVEFORMS = torch.sin(torch.arange(9000) * 0.05).repeat(2, 1) * torch.rand(2, 9000, generator=torch.manual_seed(5))

    @pytest.mark.parametrize("units", [("head",), ("interm",), ("attlayer",), ("ffnlayer",), UNITS[1:]])
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("seed", [0, 1])
    def test_heads_units_and_blocks(self, shape, units, seed):
        model = make_model(shape)
        gates = random_gates(model, units, seed)
        # Zero a whole block by its own gate only: without units its output bias would go too.
        for key in gates:
            if key in ("attlayer/2", "ffnlayer/1"):
                torch.nn.init.constant_(gates[key].log_alpha, -8.0)
            else:
                torch.nn.init.constant_(gates[key].log_alpha[:1], 3.0)
        masks = gates.hardened_masks()
        pruned = prune(model, masks)
        with torch.no_grad():
            gates.attach()
            masked, _ = model(self.WAVEFORMS, torch.tensor([9000, 7000]))
            states, _ = pruned(self.WAVEFORMS, torch.tensor([9000, 7000]))
        assert any((mask == 0).any() for mask in masks.values())
        for state, expected in zip(states, masked, strict=True):
            torch.testing.assert_close(state, expected, atol=4e-6, rtol=4e-6)

    @pytest.mark.parametrize("shape", ["hubert", "wavlm", "distilhubert"])
    def test_features_of_kept_channels(self, shape):
        model = make_model(shape)
        gates = random_gates(model, ["conv"])
        masks = gates.hardened_masks()
        pruned = prune(model, masks)
        gates.attach()
        with torch.no_grad():
            masked = model.feature_extractor(self.WAVEFORMS)
            features = pruned.feature_extractor(self.WAVEFORMS)
        kept = masks["conv/6"].nonzero().flatten()
        assert features.shape[-1] == len(kept) < masked.shape[-1]
        torch.testing.assert_close(features, masked[..., kept], atol=1e-6, rtol=1e-5)

    def test_block_without_units_loses_its_output_bias(self):
        model = make_model("wav2vec2-large")
        masks = {"interm/0": torch.zeros(40)}
        bias = model.layers[0].feed_forward.output_dense.bias
        gates = Gates(model, ["interm"]).eval()
        torch.nn.init.constant_(gates["interm/0"].log_alpha, -10.0)
        for index in (1, 2):
            torch.nn.init.constant_(gates[f"interm/{index}"].log_alpha, 40.0)
        gates.attach()
        with torch.no_grad():
            masked, _ = model(self.WAVEFORMS)
            states, _ = prune(model, masks)(self.WAVEFORMS)
        torch.testing.assert_close(states[1] + bias, masked[1], atol=4e-6, rtol=4e-6)

    @pytest.mark.parametrize("units", [("head", "interm"), UNITS[1:]], ids=len)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_block_without_units_keeps_its_output_bias_on_request(self, shape, units):
        model = make_model(shape)
        gates = random_gates(model, units)
        for key, gate in gates.items():
            torch.nn.init.constant_(gate.log_alpha[:1], 3.0)
            if key in ("head/1", "interm/1", "interm/2"):
                torch.nn.init.constant_(gate.log_alpha, -10.0)
            elif key in ("attlayer/1", "attlayer/2", "ffnlayer/1"):
                torch.nn.init.constant_(gate.log_alpha, 0.5)
        pruned = prune(model, gates.hardened_masks(), keep_output_bias=True)
        assert not pruned.config.layers[1].heads
        assert [layer.feed_forward for layer in pruned.config.layers[1:]] == [0, 0]
        with torch.no_grad():
            gates.attach()
            masked, _ = model(self.WAVEFORMS)
            states, _ = pruned(self.WAVEFORMS)
        for index in (0, 2, 3):
            torch.testing.assert_close(states[index], masked[index], atol=4e-6, rtol=4e-6)
        constant = (states[1] - masked[1])[0, 0]
        assert constant.abs().max() > 0.01
        torch.testing.assert_close(states[1], masked[1] + constant, atol=4e-6, rtol=4e-6)

    @pytest.mark.parametrize("shape", ["hubert", "wav2vec2-large"])
    def test_first_block_s_output_bias(self, shape):
        """A LayerNorm's bias takes it in post-norm models; nothing before it has one in pre-norm models."""
        model = make_model(shape)
        gates = random_gates(model, ["head"])
        for index, gate in enumerate(gates.values()):
            torch.nn.init.constant_(gate.log_alpha, -10.0 if index == 0 else 3.0)
        pruned = prune(model, gates.hardened_masks(), keep_output_bias=True)
        with torch.no_grad():
            gates.attach()
            masked, _ = model(self.WAVEFORMS)
            states, _ = pruned(self.WAVEFORMS)
        assert torch.allclose(states[-1], masked[-1], atol=4e-6) == (shape == "hubert")


class TestShapes:
    def test_pruning_twice_keeps_absolute_head_indices(self):
        once = pruned_config(SHAPES["wavlm"], {"head/0": torch.tensor([0, 0.5, 0, 0.9]), "head/1": torch.zeros(4)})
        twice = pruned_config(once, {"head/0": torch.tensor([0, 1.0])})
        assert [layer.heads for layer in once.layers] == [(1, 3), (), (0, 1, 2, 3)]
        assert [layer.heads for layer in twice.layers] == [(3,), (), (0, 1, 2, 3)]

    @pytest.mark.parametrize("shape", SHAPES)
    def test_pruning_twice_equals_pruning_once(self, shape):
        model = make_model(shape)
        first, second = random_gates(model, UNITS[:3]).hardened_masks(), {}
        once = prune(model, first)
        joint = dict(first)
        for key, gate in random_gates(once, UNITS[:3], seed=7).items():
            second[key] = (gate.hardened() != 0).float()
            second[key][0] = 1.0
            joint[key] = first[key].clone()
            joint[key][first[key] != 0] *= second[key]
        twice, at_once = prune(once, second), prune(model, joint)
        assert twice.config == at_once.config
        for key, weight in at_once.state_dict().items():
            assert torch.equal(twice.state_dict()[key], weight), key

    def test_position_bias_stays_while_any_layer_has_attention(self):
        model = make_model("wavlm")
        gates = random_gates(model, ["attlayer"])
        for index, log_alpha in enumerate((-8.0, 3.0, -8.0)):
            torch.nn.init.constant_(gates[f"attlayer/{index}"].log_alpha, log_alpha)
        pruned = prune(model, gates.hardened_masks())
        assert [len(layer.heads) for layer in pruned.config.layers] == [0, 4, 0]
        gates.attach()
        waveforms = TestEqualsTheMaskedModel.WAVEFORMS
        with torch.no_grad():
            masked, _ = model(waveforms)
            states, _ = pruned(waveforms)
            lost, _ = prune(model, gates.hardened_masks(), keep_position_bias=False)(waveforms)
        torch.testing.assert_close(states[-1], masked[-1], atol=4e-6, rtol=4e-6)
        assert (lost[-1] - masked[-1]).abs().max() > 1e-4
        without = prune(pruned, {"attlayer/1": torch.zeros(1)})
        assert without.position_bias is None
        assert not without.config.relative_position.has_embedding

    def test_position_bias_goes_with_layer_0_on_request(self, caplog):
        model = make_model("wavlm")
        pruned = prune(model, {"attlayer/0": torch.zeros(1)}, keep_position_bias=False)
        assert not pruned.config.relative_position.has_embedding
        assert model.config.relative_position.has_embedding
        assert "no layer has WavLM's relative position bias" in caplog.text
        states, lengths = pruned(torch.randn(2, 4000), torch.tensor([4000, 3000]))
        assert lengths.tolist() == [12, 9]
        assert states[-1].isfinite().all()
        assert prune(pruned, {"head/1": torch.tensor([1.0, 0, 0, 0])}).position_bias is None

    def test_input_stays_as_it_is(self):
        model = make_model("hubert")
        before = {key: value.clone() for key, value in model.state_dict().items()}
        gates = random_gates(model, UNITS)
        gates.attach()
        pruned = prune(model, gates.hardened_masks())
        with torch.no_grad():
            for parameter in pruned.parameters():
                parameter.zero_()
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert not pruned.layers[0]._forward_hooks

    def test_keeps_dtype_and_mode(self):
        model = make_model("hubert").to(torch.bfloat16).train()
        pruned = prune(model, {"interm/0": torch.ones(40, dtype=torch.bfloat16)})
        assert {parameter.dtype for parameter in pruned.parameters()} == {torch.bfloat16}
        assert pruned.training

    def test_no_channel_left(self):
        with pytest.raises(UserError, match="no channel in convolution 2"):
            prune(make_model("hubert"), {"conv/2": torch.zeros(16)})

    @pytest.mark.parametrize(("key", "size"), [("head/0", 3), ("head/3", 4), ("dim/0", 48)])
    def test_mask_without_a_place(self, key, size):
        with pytest.raises(ValueError, match=f"mask {key} has shape"):
            pruned_config(SHAPES["hubert"], {key: torch.ones(size)})
