"""Linear layers taken apart, and the ranks that an energy or a budget leaves them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.testing import tiny_teacher
from bench.upstream import UpstreamConfig
from bench.upstream.cost import count_dphubert_parameters, count_parameters, count_superb_macs
from compressors.low_rank.factors import Factors, all_factors, factors_of, second_moments, whitening_of
from compressors.low_rank.ranks import (
    low_rank_shape,
    paying_ranks,
    ranks_by_energy,
    ranks_within_budget,
    require_reachable_rank,
)
from compressors.settings import BudgetConfig
from compressors.size.budget import budget_for
from compressors.size.linears import linears_of

SHAPE = tiny_teacher().config
LINEARS = linears_of(SHAPE, ("attention", "feed_forward"))


def _random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def _spectra() -> dict[str, Tensor]:
    """Layers whose energy is gathered in the first components, more or less."""
    return {path: torch.logspace(index, -2, 32) for index, path in enumerate(LINEARS)}


class TestFactors:
    weight = _random(48, 32)
    inputs = _random(500, 32, seed=1) * torch.logspace(-2, 2, 32) + 3.0

    def _whitened(self) -> Factors:
        return factors_of(self.weight, whitening_of((self.inputs.T @ self.inputs / 500).double()))

    @pytest.mark.parametrize("whitened", [True, False])
    def test_all_components_make_the_weight(self, whitened: bool) -> None:
        factors = self._whitened() if whitened else factors_of(self.weight, None)
        torch.testing.assert_close(factors.up @ factors.down, self.weight, rtol=1e-4, atol=1e-5)

    def test_what_is_left_out_of_the_weight_is_its_error(self) -> None:
        factors = factors_of(self.weight, None)
        down, up = factors.truncated(10)
        error = (up @ down - self.weight).square().sum()
        assert float(error) == pytest.approx(float(factors.singular_values[10:].square().sum()), rel=1e-5)

    def test_what_is_left_out_of_whitened_layers_is_the_error_of_their_outputs(self) -> None:
        factors = self._whitened()
        down, up = factors.truncated(10)
        error = (self.inputs @ (up @ down - self.weight).T).square().sum() / 500
        assert float(error) == pytest.approx(float(factors.singular_values[10:].square().sum()), rel=1e-3)

    def test_whitening_beats_the_plain_decomposition_on_outputs(self) -> None:
        errors = []
        for factors in (self._whitened(), factors_of(self.weight, None)):
            down, up = factors.truncated(10)
            errors.append(float((self.inputs @ (up @ down - self.weight).T).square().sum()))
        assert errors[0] < 0.2 * errors[1]

    def test_survives_inputs_that_never_leave_a_plane(self) -> None:
        inputs = _random(500, 5) @ _random(5, 32, seed=1)
        factors = factors_of(self.weight, whitening_of((inputs.T @ inputs).double()))
        assert factors.down.isfinite().all()
        torch.testing.assert_close(inputs @ (factors.up @ factors.down).T, inputs @ self.weight.T, rtol=1e-2, atol=1e-2)

    def test_moments_are_of_what_the_layers_hear(self) -> None:
        model = tiny_teacher()
        heard: list[Tensor] = []
        path = "layers.1.feed_forward.output_dense"
        handle = model.get_submodule(path).register_forward_hook(lambda _, inputs, __: heard.append(inputs[0]))
        batches = [_random(2, 8000), _random(1, 4000)]
        moments = second_moments(model, [path, "layers.0.attention.q_proj"], batches)
        handle.remove()
        frames = torch.cat([each.flatten(0, 1) for each in heard]).double()
        torch.testing.assert_close(moments[path], frames.T @ frames / len(frames), rtol=1e-4, atol=1e-6)
        assert set(moments) == {path, "layers.0.attention.q_proj"}
        assert not any(module._forward_pre_hooks for module in model.modules())

    def test_layers_that_share_inputs_share_their_moment_and_its_decomposition(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, batches = tiny_teacher(), [_random(2, 8000)]
        moments = second_moments(model, LINEARS, batches)
        alone = {path: second_moments(model, [path], batches)[path] for path in LINEARS}
        assert all(torch.equal(moments[path], alone[path]) for path in LINEARS)
        decomposed = []
        monkeypatch.setattr(
            "compressors.low_rank.factors.whitening_of",
            lambda moment: decomposed.append(moment) or whitening_of(moment),
        )
        factors = all_factors(model, LINEARS, moments)
        num_layers = model.config.num_layers
        assert len({id(moment) for moment in moments.values()}) == len(decomposed) == 4 * num_layers
        for path in LINEARS:
            expected = factors_of(model.get_parameter(f"{path}.weight"), whitening_of(alone[path]))
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(factors[path], expected, strict=True))


class TestRanks:
    @pytest.mark.parametrize("energy", [0.5, 0.9, 0.999])
    def test_hold_the_energy_and_no_more_than_that(self, energy: float) -> None:
        ranks = ranks_by_energy(_spectra(), SHAPE, energy)
        assert ranks
        for path, rank in ranks.items():
            shares = _spectra()[path].square() / _spectra()[path].square().sum()
            assert float(shares[:rank].sum()) >= energy - 1e-6
            assert rank == 1 or float(shares[: rank - 1].sum()) < energy

    def test_an_energy_that_pays_nowhere_is_refused(self) -> None:
        flat = {path: torch.ones(32) for path in LINEARS}
        with pytest.raises(UserError, match=r"energy=0\.9"):
            ranks_by_energy(flat, SHAPE, 0.9)

    @pytest.mark.parametrize(
        "changes",
        [{"sparsity": 0.05}, {"sparsity": 0.4}, {"params": 20_000}, {"target": "macs", "sparsity": 0.1}],
        ids=str,
    )
    def test_fill_the_budget(self, changes: dict[str, Any]) -> None:
        config = BudgetConfig(**changes)
        shape = low_rank_shape(SHAPE, ranks_within_budget(_spectra(), SHAPE, budget_for(config, SHAPE)))
        if config.params:
            size, wanted = count_parameters(shape), float(config.params)
        else:
            measure = count_superb_macs if config.target == "macs" else count_dphubert_parameters
            size, wanted = measure(shape), (1 - config.final_sparsity) * measure(SHAPE)
        assert 0.99 * wanted <= size <= wanted + 1

    def test_keep_what_has_more_energy_than_anything_left_out(self) -> None:
        ranks = ranks_within_budget(_spectra(), SHAPE, budget_for(BudgetConfig(sparsity=0.4), SHAPE))
        shares = {path: values.square() / values.square().sum() for path, values in _spectra().items()}
        least_kept = min(float(shares[path][rank - 1]) for path, rank in ranks.items() if rank > 1)
        assert least_kept >= max(float(shares[path][rank]) for path, rank in ranks.items())
        assert len(set(ranks.values())) > 3

    def test_pay_below_the_break_even(self) -> None:
        # 32 x 32 weights, and 32 x 48: a component has 64 and 80.
        q_proj, dense = "layers.0.attention.q_proj", "layers.0.feed_forward.output_dense"
        assert paying_ranks({q_proj: 15, dense: 19}, SHAPE) == {q_proj: 15, dense: 19}
        assert paying_ranks({q_proj: 16, dense: 20}, SHAPE) == {}

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"sparsity": 0.95}, r"at most 0\.\d{4} of this teacher's parameters. Found 0.95"),
            ({"target": "macs", "sparsity": 0.95}, "MACs"),
            ({"params": 3000}, r"at least \d+ parameters for this teacher. Found params=3000"),
        ],
        ids=str,
    )
    def test_out_of_reach_are_refused(self, changes: dict[str, Any], told: str) -> None:
        config = BudgetConfig(**changes)
        with pytest.raises(UserError, match=told):
            require_reachable_rank(SHAPE, LINEARS, budget_for(config, SHAPE), config)

    def test_the_smallest_in_reach_is_met(self) -> None:
        smallest: UpstreamConfig = low_rank_shape(SHAPE, dict.fromkeys(LINEARS, 1))
        config = BudgetConfig(params=count_parameters(smallest))
        budget = budget_for(config, SHAPE)
        require_reachable_rank(SHAPE, LINEARS, budget, config)
        assert ranks_within_budget(_spectra(), SHAPE, budget) == dict.fromkeys(LINEARS, 1)
