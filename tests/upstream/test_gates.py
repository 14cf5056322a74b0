"""Hard-concrete gates against the reference implementation's values, and how they sit on a model."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.cost import (
    count_dphubert_parameters,
    count_macs,
    gateable_parameters,
    macs_of_units,
    position_bias_parameters,
)
from bench.upstream.gate_kinds import HardConcrete
from bench.upstream.gates import UNITS, Gates
from bench.upstream.pruning import pruned_config
from tests.helpers.reference_names import BASE_CONFIGS, gate_key, small_gated

TRUTH = Path(__file__).parent.parent / "reference"
GATES = json.loads((TRUTH / "gates.json").read_text())
CASES = {case["tag"]: case for case in GATES["hardconcrete"]}
UNITS_OF = {"run_sh(conv,head,interm)": UNITS[:3], "all5(conv,head,attlayer,interm,ffnlayer)": UNITS}
INITIAL_LOG_ALPHA = {"conv": 4.59512, "head": 4.59512, "interm": 0.0, "attlayer": 4.59512, "ffnlayer": 4.59512}


@pytest.fixture(scope="module")
def arrays():
    return np.load(TRUTH / "gates.npz")


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return UpstreamModel(uniform_config("hubert", 48, 2, 3, 40, 8, positional_kernel=16))


def gate_with(log_alpha: np.ndarray) -> HardConcrete:
    gate = HardConcrete(len(log_alpha), 0.5)
    with torch.no_grad():
        gate.log_alpha.copy_(torch.from_numpy(log_alpha))
    return gate


class TestHardConcrete:
    @pytest.mark.parametrize("tag", CASES)
    def test_expected_open_entries_and_their_gradient(self, tag, arrays):
        gate = gate_with(arrays[f"hc/{tag}/log_alpha"])
        gate.expected_open().backward()
        assert gate.expected_open().item() == pytest.approx(CASES[tag]["l0_norm"], rel=1e-6)
        np.testing.assert_allclose(gate.log_alpha.grad, arrays[f"hc/{tag}/l0_grad"], atol=1e-6)

    @pytest.mark.parametrize("tag", CASES)
    def test_evaluation_mask(self, tag, arrays):
        mask = gate_with(arrays[f"hc/{tag}/log_alpha"]).eval()()
        assert int((mask == 0).sum()) == CASES[tag]["num_zeros"]
        expected = arrays[f"hc/{tag}/mask"]
        if CASES[tag]["ties"]:  # Which of equal entries go is unspecified.
            mask, expected = mask.sort().values, np.sort(expected)
        np.testing.assert_allclose(mask.detach(), expected, atol=1e-6)

    @pytest.mark.parametrize("tag", CASES)
    def test_training_mask_and_its_gradient(self, tag, arrays):
        gate = gate_with(arrays[f"hc/{tag}/log_alpha"])
        mask = gate.sample(torch.from_numpy(arrays[f"hc/{tag}/u"]))
        (torch.linspace(-1, 1, len(mask)) * mask).sum().backward()
        np.testing.assert_allclose(mask.detach(), arrays[f"hc/{tag}/train_mask"], atol=1e-6)
        np.testing.assert_allclose(gate.log_alpha.grad, arrays[f"hc/{tag}/train_mask_grad"], atol=1e-6)

    def test_evaluation_mask_follows_log_alpha(self):
        gate = HardConcrete(4, 0.01).eval()
        assert (gate() > 0).all()
        with torch.no_grad():
            gate.log_alpha.fill_(-10)
        assert (gate() == 0).all()

    def test_evaluation_mask_can_be_differentiated(self):
        gate = gate_with(np.array([-5.0, 3.0, 1.0], np.float32)).eval()
        mask = gate()
        mask.sum().backward()
        slope = 0.8 * 1.5
        np.testing.assert_allclose(gate.log_alpha.grad, slope * (mask * (1 - mask)).detach(), rtol=1e-5)

    def test_training_mode_draws_from_the_global_generator(self):
        gate = HardConcrete(64, 0.5)
        torch.manual_seed(3)
        first, second = gate(), gate()
        torch.manual_seed(3)
        assert torch.equal(gate(), first)
        assert not torch.equal(first, second)

    def test_samples_are_open_as_often_as_expected(self):
        torch.manual_seed(0)
        gate = gate_with(np.full(100_000, -1.0, np.float32))
        opened = (gate() > 0).float().mean()
        assert opened.item() == pytest.approx(gate.expected_open().item() / 100_000, abs=0.005)


class TestExpectedParameters:
    @pytest.mark.parametrize("units", [*UNITS_OF, *UNITS])
    @pytest.mark.parametrize("name", GATES["full_size"])
    def test_full_size_models(self, name, units):
        with torch.device("meta"):
            model = UpstreamModel(BASE_CONFIGS[name])
        gates = Gates(model, UNITS_OF.get(units, (units,)))
        for log_alpha, expected in GATES["full_size"][name]["expected"][units].items():
            for key, gate in gates.items():
                value = INITIAL_LOG_ALPHA[key.split("/")[0]] if "init" in log_alpha else float(log_alpha)
                torch.nn.init.constant_(gate.log_alpha, value)
            assert gates.expected_parameters().item() == pytest.approx(expected["expected_params"], rel=2e-6)

    def test_is_differentiable_in_every_gate(self, tiny):
        gates = Gates(tiny, UNITS)
        gates.expected_parameters().backward()
        assert all((gate.log_alpha.grad > 0).all() for gate in gates.values())

    def test_without_gates_counts_what_is_there(self, tiny):
        scale = tiny.feature_extractor.channel_scale.numel()
        counted = sum(parameter.numel() for parameter in tiny.parameters()) + scale
        assert Gates(tiny, ()).expected_parameters().item() == counted


class TestExpectedStructure:
    @pytest.mark.parametrize("keep_position_bias", [True, False])
    @pytest.mark.parametrize(("architecture", "large"), [("hubert", False), ("wav2vec2", True), ("wavlm", False)])
    def test_of_certain_gates_is_what_pruning_leads_to(self, architecture, large, keep_position_bias):
        """Any masks, blocks without units and layer 0 without attention among them: sizes and MACs are exact."""
        config = uniform_config(architecture, 48, 3, 4, 6, 8, large=large)
        torch.manual_seed(0)
        lost = 0
        for _ in range(30):
            gates = Gates(UpstreamModel(config), UNITS)
            for key, gate in gates.items():
                kept = torch.rand_like(gate.log_alpha) < torch.rand(())
                kept[0] |= key.startswith("conv")
                torch.nn.init.constant_(gate.log_alpha, -60.0)
                gate.log_alpha.data[kept] = 60.0
            pruned = pruned_config(config, gates.hardened_masks(), keep_position_bias=keep_position_bias)
            lost += not pruned.layers[0].heads and any(layer.heads for layer in pruned.layers)
            units, embeddings = gates.expected_structure(keep_position_bias=keep_position_bias)
            parameters = gateable_parameters(config, units)
            parameters = parameters + position_bias_parameters(config, units["attlayer"], embeddings)
            assert parameters.item() == pytest.approx(count_dphubert_parameters(pruned), rel=2e-6)
            for length in (4000, 16_000):
                macs = macs_of_units(config, units, embeddings, [length])
                assert macs.item() == pytest.approx(count_macs(pruned, length), rel=2e-6)
        assert lost > 2

    def test_is_the_mean_over_samples(self):
        """Gates of one part are drawn; all others are certain, as counts of neighbours count as independent."""
        config = uniform_config("wavlm", 48, 2, 4, 6, 8)
        torch.manual_seed(0)
        for unit, log_alpha in (("head", -3.0), ("interm", -3.0), ("attlayer", -1.5)):
            gates = Gates(UpstreamModel(config), [unit])
            for gate in gates.values():
                torch.nn.init.constant_(gate.log_alpha, log_alpha)
            units, embeddings = gates.expected_structure(keep_position_bias=True)
            expected = macs_of_units(config, units, embeddings, [4000]).item()
            drawn = [
                count_macs(pruned_config(config, {key: gate() for key, gate in gates.items()}), 4000)
                for _ in range(600)
            ]
            deviation = np.std(drawn) / math.sqrt(len(drawn))
            # WavLM's gates and the embedding they need count as independent too: a term of 1e-3 of the whole.
            assert abs(np.mean(drawn) - expected) < 4 * deviation + 1e-3 * expected

    def test_reaches_every_gate_and_stays_finite_where_all_are_closed(self):
        config = uniform_config("wavlm", 48, 2, 4, 6, 8)
        for log_alpha in (4.0, -4.0, -200.0):
            gates = Gates(UpstreamModel(config), UNITS)
            for gate in gates.values():
                torch.nn.init.constant_(gate.log_alpha, log_alpha)
            units, embeddings = gates.expected_structure(keep_position_bias=True)
            macs = macs_of_units(config, units, embeddings)
            macs.backward()
            gradients = torch.cat([gate.log_alpha.grad for gate in gates.values()])
            assert macs.isfinite()
            assert gradients.isfinite().all()
            assert log_alpha < 0 or (gradients > 0).all()


class TestLastChannel:
    @pytest.mark.parametrize("is_training", [True, False])
    def test_a_convolution_keeps_its_highest_channel_in_every_pass(self, tiny, is_training):
        gates = Gates(tiny, ["conv"]).train(is_training)
        for gate in gates.values():
            torch.nn.init.constant_(gate.log_alpha, -20.0)
            gate.log_alpha.data[3] = -19.0
            assert torch.equal(gate(), torch.eye(8)[3])
        gates.attach()
        states, _ = tiny.eval()(torch.randn(2, 4000))
        assert states[0][0].std(0).max() > 1e-3
        assert [layer.channels for layer in pruned_config(tiny.config, gates.hardened_masks()).conv_layers] == [1] * 7

    def test_counts_as_often_as_it_is_open(self, tiny):
        torch.manual_seed(0)
        gates = Gates(tiny, ["conv"])
        gate = gates["conv/2"]
        torch.nn.init.constant_(gate.log_alpha, -4.0)
        opened = torch.tensor([float((gate() > 0).sum()) for _ in range(20_000)]).mean()
        assert opened > 1.01
        assert _expected_channels(gates)[2].item() == pytest.approx(opened.item(), abs=0.01)
        assert gate.expected_open().item() < 0.8

    def test_nothing_is_won_by_closing_it(self, tiny):
        gates = Gates(tiny, ["conv"])
        gate = gates["conv/2"]
        torch.nn.init.constant_(gate.log_alpha, -16.0)
        _expected_channels(gates)[2].backward()
        assert _expected_channels(gates)[2].item() == pytest.approx(1.0)
        assert gate.log_alpha.grad.abs().max() < 1e-6


def _expected_channels(gates):
    return gates.expected_structure(keep_position_bias=True)[0]["conv"]


class TestAttachedGates:
    @pytest.mark.parametrize("name", ["hubert", "wavlm"])
    def test_gated_model_computes_the_reference_states(self, name):
        model, state = small_gated(TRUTH / f"dphubert_small_{name}_gated.ckpt")
        gates = Gates(model, UNITS).eval()
        gates.load_state_dict(state)
        gates.attach()
        truth = np.load(TRUTH / f"dphubert_small_{name}.npz")
        with torch.no_grad():
            states, lengths = model.distillation_states(
                torch.from_numpy(truth["wav"]), torch.from_numpy(truth["lengths"])
            )
        assert lengths.tolist() == truth["gated/batch/out_lengths"].tolist()
        for index, hidden in enumerate(states):
            np.testing.assert_allclose(hidden, truth[f"gated/batch/{index}"], atol=1e-4)
        for path in (path for path in truth.files if path.startswith("mask/")):
            mask = gates.hardened_masks()[gate_key(path.removeprefix("mask/"))]
            np.testing.assert_allclose(mask, truth[path], atol=1e-6)
        assert gates.expected_parameters().item() == pytest.approx(truth["gated/expected_num_params"], rel=2e-6)

    def test_initial_values(self, tiny):
        torch.manual_seed(0)
        gates = Gates(tiny, UNITS)
        for unit, mean in INITIAL_LOG_ALPHA.items():
            values = torch.cat([gate.log_alpha.detach() for key, gate in gates.items() if key.startswith(unit)])
            assert values.mean().item() == pytest.approx(mean, abs=0.03)
        assert values.std().item() == pytest.approx(0.01, abs=0.01)

    def test_state_is_that_of_the_gates_alone(self, tiny):
        gates = Gates(tiny, ["conv", "head"])
        assert list(gates.state_dict()) == [f"conv/{i}.log_alpha" for i in range(7)] + [
            "head/0.log_alpha",
            "head/1.log_alpha",
        ]
        assert not any("log_alpha" in key for key in tiny.state_dict())

    def test_each_gate_draws_one_mask_a_pass(self, tiny):
        gates = Gates(tiny, UNITS)
        drawn = []
        for key, gate in gates.items():
            gate.register_forward_hook(lambda module, inputs, mask, key=key: drawn.append(key))
        gates.attach()
        gates.attach()
        tiny(torch.randn(2, 4000))
        assert sorted(drawn) == sorted(gates)

    def test_training_reaches_every_gate(self, tiny):
        gates = Gates(tiny, UNITS)
        gates.attach()
        states, _ = tiny(torch.randn(2, 4000))
        # Plain sums would vanish: LayerNorm takes the mean away.
        sum((state * torch.randn_like(state)).sum() for state in states).backward()
        for key, gate in gates.items():
            assert gate.log_alpha.grad is not None, key
        assert all(gates[f"interm/{index}"].log_alpha.grad.abs().sum() > 0 for index in range(2))

    def test_detaching_restores_the_model(self, tiny):
        tiny.eval()
        waveforms = torch.randn(1, 4000)
        before = tiny(waveforms)[0][-1]
        gates = Gates(tiny, UNITS).eval()
        gates.attach()
        assert not torch.equal(tiny(waveforms)[0][-1], before)
        gates.detach()
        assert torch.equal(tiny(waveforms)[0][-1], before)

    def test_masks_stay_float32_under_autocast(self, tiny):
        gates = Gates(tiny, UNITS)
        dtypes = set()
        for gate in gates.values():
            gate.register_forward_hook(lambda module, inputs, mask: dtypes.add(mask.dtype))
        gates.attach()
        with torch.autocast("cpu", torch.bfloat16):
            states, _ = tiny(torch.randn(2, 4000))
        assert dtypes == {torch.float32}
        assert all(state.isfinite().all() for state in states)

    def test_absent_units_have_no_gate(self):
        config = uniform_config("hubert", 48, 2, 3, 40, 8)
        layers = (
            config.layers[0].model_copy(update={"heads": (2,)}),
            config.layers[1].model_copy(update={"heads": (), "feed_forward": 0}),
        )
        gates = Gates(UpstreamModel(config.model_copy(update={"layers": layers})), UNITS)
        assert gates["head/0"].log_alpha.shape == (1,)
        assert not any(key.endswith("/1") for key in gates if not key.startswith("conv"))

    def test_unknown_unit(self, tiny):
        with pytest.raises(UserError, match="unknown pruning unit 'heads'; choose from conv, head"):
            Gates(tiny, ["heads"])


def test_stretch_makes_a_tenth_certain():
    """At log_alpha 0 the closed probability is sigmoid of the paper's constant."""
    gate = gate_with(np.zeros(1, np.float32))
    assert gate.expected_open().item() == pytest.approx(1 / (1 + math.exp(2 / 3 * math.log(0.1 / 1.1))))
