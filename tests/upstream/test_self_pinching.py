"""Self-pinching gates: one threshold per gate, which closes the units of small weights."""

from __future__ import annotations

import pytest
import torch

from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.gate_kinds import LARGEST_SIZE, SIZE_SLOPE, SelfPinching, open_probability
from bench.upstream.gates import UNITS, Gates
from bench.upstream.pruning import prune, pruned_config
from bench.upstream.unit_weights import unit_weights


@pytest.fixture
def model() -> UpstreamModel:
    torch.manual_seed(0)
    return UpstreamModel(uniform_config("hubert", 48, 2, 3, 40, 8, positional_kernel=16)).eval()


def _gate(model: UpstreamModel, key: str, count: int) -> SelfPinching:
    return SelfPinching(lambda: unit_weights(model, key, count), keeps_one=key.startswith("conv"))


class TestGate:
    def test_has_one_learnable_number(self, model: UpstreamModel) -> None:
        gates = Gates(model, UNITS, "self_pinching")
        assert all(parameter.shape == () for parameter in gates.parameters())
        assert len(list(gates.parameters())) == len(gates)
        assert not set(gates.state_dict()) & set(model.state_dict())

    def test_opens_units_by_the_size_of_their_weights(self, model: UpstreamModel) -> None:
        gate = _gate(model, "interm/0", 40)
        sizes = torch.cat(unit_weights(model, "interm/0", 40), dim=1).square().mean(1).sqrt().log()
        standard = (sizes - sizes.mean()) / sizes.std().clamp(min=0.01)
        expected = SIZE_SLOPE * standard.clamp(-LARGEST_SIZE, LARGEST_SIZE) + gate.offset
        torch.testing.assert_close(gate.log_alpha, expected, rtol=1e-4, atol=1e-4)

    def test_has_no_noise(self, model: UpstreamModel) -> None:
        gate = _gate(model, "interm/0", 40).train()
        gate.offset.data.fill_(0.0)
        assert gate().equal(gate())

    def test_a_unit_that_shrinks_closes(self, model: UpstreamModel) -> None:
        gate = _gate(model, "interm/0", 40).train()
        assert gate()[7] == 1
        with torch.no_grad():
            model.layers[0].feed_forward.intermediate_dense.weight[7] *= 1e-3
            model.layers[0].feed_forward.output_dense.weight[:, 7] *= 1e-3
        assert gate()[7] == 0
        assert open_probability(gate.log_alpha)[7] < 0.01

    def test_gradients_reach_the_threshold_and_the_weights(self, model: UpstreamModel) -> None:
        gate = _gate(model, "head/1", 3).train()
        gate.offset.data.fill_(0.0)
        gate.expected_open().backward()
        assert gate.offset.grad is not None
        assert gate.offset.grad > 0
        assert model.layers[1].attention.out_proj.weight.grad.abs().sum() > 0

    def test_of_a_whole_block_works(self, model: UpstreamModel) -> None:
        gate = _gate(model, "attlayer/0", 1)
        assert gate.log_alpha.isfinite().all()

    def test_of_a_convolution_keeps_a_channel(self, model: UpstreamModel) -> None:
        gate = _gate(model, "conv/2", 8)
        gate.offset.data.fill_(-100.0)
        for mask in (gate.train()(), gate.eval()()):
            assert int((mask > 0).sum()) == 1


class TestOnAModel:
    def test_the_pruned_model_is_the_gated_one(self, model: UpstreamModel) -> None:
        gates = Gates(model, ["head", "interm"], "self_pinching").eval()
        for gate in gates.values():
            gate.offset.data.fill_(0.0)
        gates.attach()
        waveforms = torch.randn(1, 4000)
        with torch.no_grad():
            gated = model(waveforms)[0][-1]
            masks = gates.hardened_masks()
            gates.detach()
            pruned = prune(model, masks)
            torch.testing.assert_close(pruned(waveforms)[0][-1], gated, rtol=1e-4, atol=1e-4)
        assert pruned_config(model.config, masks) == pruned.config
        assert any(not mask.all() for mask in masks.values())

    def test_the_expected_size_follows_the_threshold(self, model: UpstreamModel) -> None:
        gates = Gates(model, ["conv", "head", "interm"], "self_pinching")
        sizes = []
        for offset in (30.0, 0.0, -30.0):
            for gate in gates.values():
                gate.offset.data.fill_(offset)
            sizes.append(gates.expected_parameters().item())
        assert sizes[0] > sizes[1] > sizes[2]
