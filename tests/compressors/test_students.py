"""The shapes and first weights of students that are not pruned from their teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.config import DropoutRates, UpstreamConfig, uniform_config
from bench.upstream.cost import superb_macs
from bench.upstream.random_shapes import SHAPES
from compressors.settings import BudgetConfig
from compressors.size.budget import budget_for
from compressors.students.shapes import ExtractorWidth, shallow_shape, shallow_student, thin_shape, thin_student
from tests.helpers.method_checks import TEACHER_SHAPE, tiny_teacher

DROPOUT = DropoutRates(hidden=0.3)


def _thin(teacher: UpstreamConfig, extractor: ExtractorWidth = "teacher", **budget: Any) -> UpstreamConfig:
    return thin_shape(teacher, budget_for(BudgetConfig(**budget), teacher), extractor)


def _num_parameters(shape: UpstreamConfig) -> int:
    """Of a real model of this shape, which needs no memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in UpstreamModel(shape).parameters())


class TestThinShape:
    @pytest.mark.parametrize("name", ["mini-hubert", "hubert_base", "wavlm_base_plus", "wav2vec2_large"])
    @pytest.mark.parametrize(
        ("extractor", "budget"),
        [
            ("teacher", {"sparsity": 0.3}),
            ("teacher", {"sparsity": 0.875}),
            ("thin", {"sparsity": 0.75}),
            ("thin", {"sparsity": 0.75, "target": "macs"}),
        ],
        ids=str,
    )
    def test_meets_the_budget_with_the_proportions_of_the_teacher(
        self, name: str, extractor: ExtractorWidth, budget: dict[str, Any]
    ) -> None:
        teacher = SHAPES[name]
        shape = _thin(teacher, extractor, **budget)
        share = 1 - budget["sparsity"]
        if budget.get("target") == "macs":
            size, wanted = superb_macs(shape).macs, share * superb_macs(teacher).macs
        else:
            size, wanted = _num_parameters(shape), share * _num_parameters(teacher)
        assert 0.99 * wanted <= size <= wanted + 512
        assert shape.num_layers == teacher.num_layers
        assert shape.total_heads * shape.head_dim == shape.dim
        assert shape.head_dim in (teacher.head_dim, teacher.head_dim // 2)
        assert 2 < shape.layers[0].feed_forward / shape.dim < 6.5
        widths = [layer.channels for layer in shape.conv_layers]
        expected = 1.0 if extractor == "teacher" else shape.dim / teacher.dim
        assert widths == [round(layer.channels * expected) for layer in teacher.conv_layers]

    def test_is_half_the_teacher_at_the_size_of_that(self) -> None:
        half = uniform_config("hubert", 384, 12, 6, 1536)
        params = _num_parameters(half)
        assert round(params / 1e6, 2) == 26.87
        assert _thin(SHAPES["hubert_base"], params=params) == half

    def test_keeps_what_is_the_teacher_s_own(self) -> None:
        shape = _thin(SHAPES["wavlm_large"], sparsity=0.75)
        for field in ("architecture", "extractor_norm", "layer_norm_first", "normalize_waveform", "relative_position"):
            assert getattr(shape, field) == getattr(SHAPES["wavlm_large"], field)

    @pytest.mark.parametrize(
        ("budget", "message"),
        [
            ({"sparsity": 0.96}, r"closest to it has \d+ parameters. Found a budget of \d+.*or set extractor=thin"),
            ({"sparsity": 0.75, "target": "macs"}, r"closest to it has \d+ MACs"),
        ],
    )
    def test_refuses_what_the_extractor_alone_exceeds(self, budget: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            _thin(SHAPES["hubert_base"], **budget)
        assert _thin(SHAPES["hubert_base"], "thin", **budget).dim < 768

    def test_refuses_what_no_width_comes_close_to(self) -> None:
        with pytest.raises(UserError, match=r"within 1%; the closest to it has \d+ parameters.*Choose another\.$"):
            _thin(TEACHER_SHAPE, "thin", params=3_000)


class TestThinStudent:
    def test_starts_with_the_teacher_s_extractor_and_random_layers(self) -> None:
        teacher = tiny_teacher()
        shape = _thin(teacher.config, sparsity=0.6)
        students = [thin_student(teacher, shape, DROPOUT, seed) for seed in (1, 1, 2)]
        first, again, other = (student.state_dict() for student in students)
        given = {key for key in first if key.startswith("feature_extractor.")}
        assert len(given) > 7
        for key in {*given, "feature_projection.layer_norm.weight"}:
            assert first[key].equal(teacher.state_dict()[key]), key
        assert all(first[key].equal(again[key]) for key in first)
        different = {key for key in first if not first[key].equal(other[key])}
        assert {"layers.0.attention.q_proj.weight", "layers.2.feed_forward.output_dense.weight"} <= different
        assert not different & given
        assert students[0].training
        assert students[0].config.dropout == DROPOUT

    def test_of_another_extractor_is_random_throughout(self) -> None:
        teacher = tiny_teacher()
        student = thin_student(teacher, _thin(teacher.config, "thin", sparsity=0.6), DROPOUT, 0)
        assert student.config.conv_layers[0].channels == 4
        assert student.state_dict()["feature_extractor.conv_layers.1.conv.weight"].shape == (4, 4, 3)


class TestShallowStudent:
    def test_is_the_teacher_up_to_its_depth(self) -> None:
        teacher = tiny_teacher()
        student = shallow_student(teacher, shallow_shape(teacher.config, 2), DROPOUT)
        assert student.training
        assert student.config.dropout == DROPOUT
        waveforms = torch.randn(1, 4000)
        expected, _ = teacher(waveforms)
        states, _ = student.eval()(waveforms)
        assert len(states) == 3
        for state, wanted in zip(states, expected[:3], strict=True):
            torch.testing.assert_close(state, wanted)

    def test_shares_no_weight_with_the_teacher(self) -> None:
        teacher = tiny_teacher()
        student = shallow_student(teacher, shallow_shape(teacher.config, 2), DROPOUT)
        torch.nn.init.zeros_(student.layers[0].layer_norm.weight)  # type: ignore[arg-type, union-attr]
        assert teacher.layers[0].layer_norm.weight.all()  # type: ignore[union-attr, operator]

    def test_can_do_without_the_projection_s_layer_norm(self) -> None:
        teacher = tiny_teacher()
        shape = shallow_shape(teacher.config, 2, projection_layer_norm=False)
        student = shallow_student(teacher, shape, DROPOUT)
        assert not any(key.startswith("feature_projection.layer_norm") for key in student.state_dict())

    def test_needs_a_teacher_that_deep(self) -> None:
        with pytest.raises(UserError, match=r"teacher of 4 layers or more.*Found 3.*student=deep-thin"):
            shallow_shape(tiny_teacher().config, 4)
