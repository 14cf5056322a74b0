"""Low-rank and int8 linear layers: what they compute, how they are kept, where they run."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.errors import UserError
from bench.profiling.counts import count
from bench.testing import tiny_teacher
from bench.upstream import UpstreamConfig, UpstreamModel, load_folder, load_upstream, save_upstream, weights_hash
from bench.upstream.config import ReducedLinear
from bench.upstream.cost import count_parameters, count_superb_macs
from bench.upstream.pruning import prune
from bench.upstream.random_shapes import random_model
from bench.upstream.reduced_linears import Int8Linear, quantised_weight, require_int8_kernels
from bench.upstream.reduction import dequantised, factorised, quantised, single_linears
from bench.upstream.reference import reference_config

KINDS = ("low-rank", "int8", "low-rank-int8")


def truncated(model: UpstreamModel, rank: int | None) -> UpstreamModel:
    """Take all linear layers apart, to a rank or to all there is."""
    factors = {}
    for path in model.config.linear_sizes:
        left, values, right = torch.linalg.svd(model.get_parameter(f"{path}.weight").double(), full_matrices=False)
        down, up = (values[:, None] * right).float(), left.float()
        factors[path] = (down[:rank].contiguous(), up[:, :rank].contiguous())
    return factorised(model, factors)


def reduced(kind: str, model: UpstreamModel, rank: int | None = 6) -> UpstreamModel:
    smaller = truncated(model, rank) if "low-rank" in kind else model
    return quantised(smaller, list(smaller.config.linear_sizes)) if "int8" in kind else smaller


def last_state(model: UpstreamModel) -> Tensor:
    waveforms = torch.randn(2, 8000, generator=torch.Generator().manual_seed(3)) * 0.1
    with torch.no_grad():
        state: Tensor = model(waveforms, torch.tensor([8000, 5000]))[0][-1]
    return state


def difference(model: UpstreamModel, other: UpstreamModel) -> float:
    return float((last_state(model) - last_state(other)).norm() / last_state(other).norm())


class TestShape:
    def test_is_the_same_whatever_the_order(self) -> None:
        shape = tiny_teacher().config
        pairs = [
            ("layers.0.attention.q_proj", ReducedLinear(rank=2)),
            ("layers.0.attention.k_proj", ReducedLinear(rank=3)),
        ]
        first, second = (shape.with_reduced_linears(dict(each)) for each in (pairs, reversed(pairs)))
        assert first == second
        assert hash(first) == hash(second)
        assert UpstreamConfig.model_validate_json(first.model_dump_json()) == first
        assert dict(first.reduced_linears) == dict(pairs)

    def test_adds_to_what_is_reduced_already(self) -> None:
        shape = tiny_teacher().config.with_reduced_linears({"layers.0.attention.q_proj": ReducedLinear(rank=2)})
        shape = shape.with_reduced_linears({"layers.1.attention.q_proj": ReducedLinear(dtype="int8")})
        assert [path for path, _ in shape.reduced_linears] == ["layers.0.attention.q_proj", "layers.1.attention.q_proj"]

    @pytest.mark.parametrize(
        ("path", "rank", "told"),
        [
            ("layers.0.feed_forward.output_dense", 33, "rank 33; a layer of 48 inputs and 32 outputs has at most 32"),
            ("layers.0.layer_norm", 1, "no linear layer"),
        ],
    )
    def test_refuses_what_has_no_place(self, path: str, rank: int, told: str) -> None:
        shape = tiny_teacher().config
        with pytest.raises(ValueError, match=told):
            shape.with_reduced_linears({path: ReducedLinear(rank=rank)})
        with pytest.raises(ValidationError, match=told):
            UpstreamConfig.model_validate({**shape.model_dump(), "reduced_linears": {path: {"rank": rank}}})

    @pytest.mark.parametrize("kind", ["hubert", "wavlm-large"])
    def test_knows_every_linear_layer_but_wavlm_s_gate(self, kind: str) -> None:
        model = tiny_teacher(kind)
        found = {
            path: (module.in_features, module.out_features)
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear) and "gru_rel_pos" not in path
        }
        assert model.config.linear_sizes == found


class TestLowRank:
    @pytest.mark.parametrize("kind", ["hubert", "hubert-large", "wavlm"])
    def test_at_full_rank_it_is_the_dense_model(self, kind: str) -> None:
        model = tiny_teacher(kind)
        assert difference(truncated(model, None), model) < 1e-5

    def test_at_a_lower_rank_it_has_the_products_as_weights(self) -> None:
        model = tiny_teacher()
        smaller, dense = truncated(model, 6), copy.deepcopy(model)
        state = smaller.state_dict()
        for path in model.config.linear_sizes:
            dense.get_parameter(f"{path}.weight").data = state[f"{path}.up.weight"] @ state[f"{path}.down.weight"]
        assert difference(smaller, dense) < 1e-5
        assert difference(smaller, model) > 1e-2

    def test_of_random_weights(self) -> None:
        model = random_model(truncated(tiny_teacher(), 4).config)
        assert last_state(model).isfinite().all()
        assert {bool(value.any()) for key, value in model.state_dict().items() if key.endswith("down.weight")} == {True}

    def test_cannot_be_pruned(self) -> None:
        with pytest.raises(ValueError, match="only dense layers"):
            prune(truncated(tiny_teacher(), 4), {})


class TestInt8:
    @pytest.fixture
    def weight(self) -> Tensor:
        weight = torch.randn(48, 32, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 2, 48)[:, None]
        weight[5] = 0.0
        return weight

    def test_weights_are_rounded_to_the_nearest(self, weight: Tensor) -> None:
        rounded, scale = quantised_weight(weight)
        expected = np.abs(weight.numpy()).max(axis=1) / 127
        np.testing.assert_allclose(scale.numpy()[expected > 0], expected[expected > 0], rtol=1e-6)
        assert rounded.dtype == torch.int8
        assert not rounded[5].any()
        assert rounded.abs().amax(1)[expected > 0].tolist() == [127] * 47
        assert ((rounded * scale[:, None] - weight).abs() <= 0.5001 * scale[:, None]).all()

    @pytest.mark.parametrize("bias", [True, False])
    def test_multiplies_what_the_numbers_stand_for(self, weight: Tensor, bias: bool) -> None:
        """Against the products of rounded weights with inputs that are off by half a step at most."""
        layer = Int8Linear(32, 48, bias=bias)
        state = dict(zip(("weight", "scale"), quantised_weight(weight), strict=True))
        layer.load_state_dict(state | ({"bias": torch.arange(48.0)} if bias else {}))
        inputs = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(1))
        rounded = state["weight"] * state["scale"][:, None]
        expected = inputs @ rounded.T + (torch.arange(48.0) if bias else 0.0)
        step = float(inputs.max() - inputs.min()) / 127
        # Halves of a step, of either sign in each of the inputs: as large as all of one sign is impossible.
        assert ((layer(inputs) - expected).abs() <= 0.51 * step * rounded.abs().sum(1) + 1e-5).all()

    def test_is_close_to_the_dense_model(self) -> None:
        model = load_upstream("mini-hubert")
        assert isinstance(model, UpstreamModel)
        # All weights and inputs are rounded to a 127th of the largest, and the errors of 12 layers add up.
        assert 0 < difference(quantised(model, list(model.config.linear_sizes)), model) < 0.06

    def test_uses_weights_that_are_loaded_after_a_pass(self) -> None:
        model, other = (reduced("int8", tiny_teacher(seed=seed)) for seed in (0, 1))
        last_state(model)
        model.load_state_dict(other.state_dict())
        assert torch.equal(last_state(model), last_state(other))

    def test_takes_half_precision(self) -> None:
        model = reduced("int8", tiny_teacher())
        with torch.autocast("cpu", torch.bfloat16):
            halved = last_state(model)
        assert (halved.float() - last_state(model)).norm() < 0.05 * last_state(model).norm()

    def test_quantises_some_layers_alone(self) -> None:
        model = quantised(tiny_teacher(), ["layers.1.attention.q_proj"])
        assert [path for path, module in model.named_modules() if isinstance(module, Int8Linear)] == [
            "layers.1.attention.q_proj"
        ]

    def test_needs_kernels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        require_int8_kernels()
        model = reduced("int8", tiny_teacher())
        monkeypatch.setattr("torch._C._get_qengine", lambda: 0)  # What a build without any has.
        with pytest.raises(UserError, match="Found none in this build of torch"):
            last_state(model)


class TestFolder:
    @pytest.mark.parametrize("kind", KINDS)
    def test_bit_equal(self, kind: str, tmp_path: Path) -> None:
        model = reduced(kind, tiny_teacher("wavlm"))
        expected = last_state(model)
        assert torch.equal(last_state(copy.deepcopy(model)), expected)
        save_upstream(model, tmp_path / "model", {})
        loaded = load_folder(tmp_path / "model")
        assert loaded.config == model.config
        assert torch.equal(last_state(loaded), expected)
        assert weights_hash(loaded) == weights_hash(model) != weights_hash(tiny_teacher("wavlm"))

    def test_says_once_what_is_reduced(self, tmp_path: Path) -> None:
        model = quantised(truncated(tiny_teacher(), 6), ["layers.0.attention.q_proj"])
        save_upstream(model, tmp_path / "model", {})
        content = json.loads((tmp_path / "model" / "config.json").read_text())
        assert content["reduced_linears"]["layers.0.attention.q_proj"] == {"rank": 6, "dtype": "int8"}
        assert content["reduced_linears"]["layers.0.attention.k_proj"] == {"rank": 6, "dtype": "float32"}
        assert len(content["reduced_linears"]) == len(model.config.linear_sizes)
        assert "reduced_linears" not in content["shape"]
        assert content["parameters"]["trainable"] == sum(parameter.numel() for parameter in model.parameters())

    def test_holds_plain_integers(self, tmp_path: Path) -> None:
        save_upstream(reduced("int8", tiny_teacher()), tmp_path / "model", {})
        weights = load_file(tmp_path / "model" / "model.safetensors")
        integers = {key for key, value in weights.items() if value.dtype == torch.int8}
        assert integers == {f"{path}.weight" for path in tiny_teacher().config.linear_sizes}
        assert {value.dtype for key, value in weights.items() if key not in integers} == {torch.float32}

    def test_refuses_other_numbers_in_the_place_of_integers(self, tmp_path: Path) -> None:
        save_upstream(reduced("int8", tiny_teacher()), tmp_path / "model", {})
        path = tmp_path / "model" / "model.safetensors"
        save_file({key: value.float() for key, value in load_file(path).items()}, path)
        with pytest.raises(UserError, match=r"weight of torch.int8 in .*Found torch.float32"):
            load_folder(tmp_path / "model")


class TestStaticInputs:
    @staticmethod
    def _static(model: UpstreamModel, *paths: str) -> UpstreamModel:
        chosen = paths or tuple(model.config.linear_sizes)
        return quantised(model, chosen, dict.fromkeys(single_linears(model.config, chosen), (-4.0, 4.0)))

    def test_a_saved_model_is_the_same_when_loaded(self, tmp_path: Path) -> None:
        model = self._static(truncated(tiny_teacher("wavlm"), 6))
        save_upstream(model, tmp_path / "model", {})
        loaded = load_folder(tmp_path / "model")
        assert loaded.config == model.config
        assert weights_hash(loaded) == weights_hash(model)
        assert last_state(loaded).equal(last_state(model))

    def test_models_with_dynamic_inputs_are_written_as_before(self, tmp_path: Path) -> None:
        mixed = self._static(quantised(tiny_teacher(), ["layers.0.attention.q_proj"]), "layers.0.attention.k_proj")
        save_upstream(mixed, tmp_path / "model", {})
        written = json.loads((tmp_path / "model" / "config.json").read_text())["reduced_linears"]
        assert written == {
            "layers.0.attention.q_proj": {"rank": None, "dtype": "int8"},
            "layers.0.attention.k_proj": {"rank": None, "dtype": "int8", "activations": "static"},
        }

    def test_belong_to_int8(self) -> None:
        with pytest.raises(ValidationError, match="static activations belong to int8"):
            ReducedLinear(rank=3, activations="static")

    def test_inputs_of_other_utterances_do_not_matter(self) -> None:
        linear = self._static(tiny_teacher()).get_submodule("layers.0.feed_forward.intermediate_dense")
        inputs = (
            torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 90.0])[:, None, None]
        )
        assert linear(inputs)[0].equal(linear(inputs[:1])[0])

    def test_inputs_outside_of_the_range_are_clipped(self) -> None:
        linear = self._static(tiny_teacher()).get_submodule("layers.0.feed_forward.intermediate_dense")
        assert linear(torch.full((1, 32), 1e4)).equal(linear(torch.full((1, 32), 5.0)))
        assert not linear(torch.full((1, 32), 3.5)).equal(linear(torch.full((1, 32), 5.0)))

    def test_products_do_not_overflow_in_16_bits(self) -> None:
        """Two products, of the largest inputs with the largest weights."""
        model = self._static(tiny_teacher())
        largest = max(int(value.abs().max()) for value in model.state_dict().values() if value.dtype == torch.int8)
        assert 2 * 255 * largest < 2**15

    def test_may_be_dequantised_alone_or_with_others(self) -> None:
        mixed = self._static(quantised(tiny_teacher(), ["layers.0.attention.q_proj"]), "layers.0.attention.k_proj")
        assert dequantised(mixed).config == tiny_teacher().config
        rest = dequantised(mixed, mixed.config.dynamic_int8)
        assert [path for path, _ in rest.config.reduced_linears] == ["layers.0.attention.k_proj"]
        assert difference(rest, tiny_teacher()) < 0.05


class TestCost:
    @pytest.mark.parametrize("kind", KINDS)
    def test_counts_are_those_of_the_loaded_model(self, kind: str, tmp_path: Path) -> None:
        model = reduced(kind, tiny_teacher("wavlm"))
        save_upstream(model, tmp_path / "model", {})
        found = count(str(tmp_path / "model"))
        assert found.params_trainable == sum(parameter.numel() for parameter in model.parameters())
        assert sum(found.params_by_part.values()) == found.params == found.params_trainable + 8
        assert found.size_bytes == sum(value.nbytes for value in model.state_dict().values())
        header = (tmp_path / "model" / "model.safetensors").stat().st_size - found.size_bytes
        assert 0 < header < 16_384
        assert reference_config(tmp_path / "model") == model.config

    def test_int8_has_the_parameters_and_macs_of_float32_in_a_quarter_of_the_bytes(self) -> None:
        model = load_upstream("mini-hubert")
        assert isinstance(model, UpstreamModel)
        smaller = reduced("int8", model)
        assert count_parameters(smaller.config) == count_parameters(model.config)
        assert count_superb_macs(smaller.config) == count_superb_macs(model.config)
        linears = sum(inputs * outputs for inputs, outputs in model.config.linear_sizes.values())
        scales = sum(outputs for _, outputs in model.config.linear_sizes.values())
        bytes_before, bytes_after = (sum(v.nbytes for v in each.state_dict().values()) for each in (model, smaller))
        assert bytes_before - bytes_after == 3 * linears - 4 * scales


@pytest.mark.filterwarnings("error")
def test_quantising_warns_of_nothing() -> None:
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        quantised_weight(torch.ones(2, 3))
    finally:
        torch.set_warn_always(before)
