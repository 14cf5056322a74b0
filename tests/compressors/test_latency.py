"""Budgets of latency: a table of timed layers, and methods that meet it. No test depends on the machine's speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.contracts import AudioSource, Context
from bench.contracts.compressor import target_sparsity
from bench.errors import UserError
from bench.testing import TEACHER_SHAPES
from bench.upstream import UpstreamConfig
from bench.upstream.config import ReducedLinear
from bench.upstream.cost import kept_units
from bench.upstream.gates import Gates
from compressors.distill_only import DistillOnly
from compressors.dphubert.compressor import DPHuBERT
from compressors.low_rank.compressor import LowRank
from compressors.low_rank.ranks import paying_ranks
from compressors.masked_distill import MaskedDistill
from compressors.prune_only.compressor import PruneOnly
from compressors.settings import PruningConfig
from compressors.size import latency
from compressors.size.budget import budget_for
from compressors.size.latency import LatencyTable, latency_table, measured_table
from tests.helpers.method_checks import TEACHER_SHAPE, tiny_teacher

METHODS = (DPHuBERT, PruneOnly, LowRank)


def table_of(shape: UpstreamConfig) -> LatencyTable:
    """Return made-up timings. A low-rank layer is faster than a dense one up to a quarter of its rank."""
    return LatencyTable(
        convolutions=((1e5, 1e3, 5e3),) * len(shape.conv_layers),
        projection=(1e4, 1e3),
        attention=(2e5, 5e5),
        feed_forward=(1e5, 5e4),
        rest=1e5,
        linears={
            f"{inputs}x{outputs}": (1e6, 0.0, 4e6 / min(inputs, outputs))
            for inputs, outputs in shape.linear_sizes.values()
        },
    )


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[UpstreamConfig]]:
    """Replace the timing of layers, and return the shapes that were timed."""
    timed: list[UpstreamConfig] = []

    def measured(shape: UpstreamConfig) -> LatencyTable:
        timed.append(shape)
        return table_of(shape)

    monkeypatch.setattr(latency, "measured_table", measured)
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
    latency_table.cache_clear()
    yield timed
    latency_table.cache_clear()


def _compressor(method: Any, **changes: Any) -> Any:
    smoke = method.presets["smoke"]
    fields = {name: value for name, value in smoke.model_dump().items() if name in smoke.model_fields_set}
    return method(method.config_type.model_validate(fields | {"target": "latency", "sparsity": 0.3} | changes))


class TestTable:
    @pytest.mark.parametrize("kind", TEACHER_SHAPES)
    def test_every_part_of_every_teacher_is_timed(self, kind: Any) -> None:
        shape = TEACHER_SHAPES[kind]
        state = torch.get_rng_state()
        table = measured_table(shape)
        assert torch.get_rng_state().equal(state)
        assert len(table.convolutions) == len(shape.conv_layers)
        assert set(table.linears) == {f"{one}x{other}" for one, other in shape.linear_sizes.values()}
        numbers = [value for part in (*table.convolutions, table.attention, table.feed_forward) for value in part]
        assert min(numbers) >= 0
        assert table.of(shape) > 0

    def test_is_the_sum_of_its_parts(self) -> None:
        table = table_of(TEACHER_SHAPE)
        channels = [layer.channels for layer in TEACHER_SHAPE.conv_layers]
        expected = sum(
            1e5 + 1e3 * outputs + 5e3 * inputs * outputs
            for inputs, outputs in zip([1, *channels], channels, strict=False)
        )
        expected += 1e4 + 1e3 * channels[-1] + 1e5
        expected += sum(2e5 + 5e5 * len(layer.heads) + 1e5 + 5e4 * layer.feed_forward for layer in TEACHER_SHAPE.layers)
        assert table.of(TEACHER_SHAPE) == round(expected)

    def test_low_rank_layers_save_what_they_are_faster(self) -> None:
        table = table_of(TEACHER_SHAPE)
        path = "layers.0.attention.q_proj"
        low = TEACHER_SHAPE.with_reduced_linears({path: ReducedLinear(rank=4)})
        assert table.of(TEACHER_SHAPE) - table.of(low) == 1e6 - 4e6 / 32 * 4

    def test_is_measured_once_and_kept(self, timings: list[UpstreamConfig]) -> None:
        first = latency_table(TEACHER_SHAPE)
        latency_table.cache_clear()
        assert latency_table(TEACHER_SHAPE) == first
        assert len(timings) == 1

    def test_expected_units_of_certain_gates_are_those_of_the_model(self, timings: list[UpstreamConfig]) -> None:
        config = PruningConfig(target="latency", sparsity=0.5)
        budget = budget_for(config, TEACHER_SHAPE)
        gates = Gates(tiny_teacher(), config.units)
        for gate in gates.parameters():
            torch.nn.init.constant_(gate, 60.0)
        units, embeddings = gates.expected_structure(keep_position_bias=True)
        expected = budget.measure_units(TEACHER_SHAPE, units, embeddings)
        assert expected.item() == pytest.approx(budget.original, rel=1e-5)
        expected.backward()
        assert timings


class TestMethods:
    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
    def test_meet_the_budget(
        self, timings: list[UpstreamConfig], speech_folder: Path, tmp_path: Path, method: Any
    ) -> None:
        compressor, audio = _compressor(method), AudioSource(root=speech_folder)
        compressor.check(tiny_teacher(), audio, Context())
        (model,) = compressor.compress(tiny_teacher(), audio, tmp_path / "work", Context()).values()
        table = table_of(TEACHER_SHAPE)
        ratio = table.of(model.config) / table.of(TEACHER_SHAPE)
        assert 0.67 <= ratio <= 0.7
        assert timings == [TEACHER_SHAPE]

    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
    def test_work_begun_with_other_timings_is_not_resumed(
        self,
        timings: list[UpstreamConfig],
        speech_folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        method: Any,
    ) -> None:
        """The budget would be another one, in the middle of the work."""
        compressor, audio = _compressor(method), AudioSource(root=speech_folder)
        compressor.compress(tiny_teacher(), audio, tmp_path / "work", Context())
        monkeypatch.setattr(latency, "TABLE_VERSION", 0)
        monkeypatch.setattr(
            latency, "measured_table", lambda shape: table_of(shape).model_copy(update={"attention": (2e5, 1e6)})
        )
        latency_table.cache_clear()
        with pytest.raises(UserError, match="timings of this machine differ") as refused:
            compressor.compress(tiny_teacher(), audio, tmp_path / "work", Context())
        assert "\n" not in str(refused.value)
        assert timings == [TEACHER_SHAPE]

    def test_a_low_rank_layer_that_is_slower_stays_dense(self, timings: list[UpstreamConfig]) -> None:
        config = _compressor(LowRank).config
        budget = budget_for(config, TEACHER_SHAPE)
        ranks = {"layers.0.attention.q_proj": 7, "layers.0.attention.k_proj": 9}
        assert set(paying_ranks(ranks, TEACHER_SHAPE)) == set(ranks)
        assert paying_ranks(ranks, TEACHER_SHAPE, budget) == {"layers.0.attention.q_proj": 7}
        assert timings

    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
    def test_an_unreachable_one_is_refused(
        self, timings: list[UpstreamConfig], speech_folder: Path, method: Any
    ) -> None:
        compressor = _compressor(method, sparsity=0.999)
        with pytest.raises(UserError, match="ns of latency"):
            compressor.check(tiny_teacher(), AudioSource(root=speech_folder), Context())
        assert timings

    @pytest.mark.parametrize("method", [DistillOnly, MaskedDistill], ids=lambda method: method.name)
    def test_students_of_another_width_have_no_such_budget(self, method: Any) -> None:
        with pytest.raises(ValidationError, match="target=latency needs a method"):
            _compressor(method)

    def test_is_no_share_of_the_parameters(self) -> None:
        assert target_sparsity({"sparsity": 0.5, "target": "latency"}) is None
        assert target_sparsity({"sparsity": 0.5, "target": "params"}) == 0.5
        with pytest.raises(ValidationError, match="two budgets"):
            PruningConfig(target="latency", params=1000)


def test_units_without_a_block_cost_nothing() -> None:
    table = table_of(TEACHER_SHAPE)
    units = kept_units(TEACHER_SHAPE)
    without = {**units, "attlayer": [0, *units["attlayer"][1:]]}
    saved = float(table.of_units(units) - table.of_units(without))
    assert saved == 2e5 + 5e5 * len(TEACHER_SHAPE.layers[0].heads)
