"""The distillation loss against the reference's values and gradients; projections; the teacher's isolation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from bench.errors import UserError
from bench.upstream import UpstreamModel
from bench.upstream.config import DropoutRates, uniform_config
from compressors.objectives.distillation import Distillation
from compressors.objectives.distilled_layers import layer_groups
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.objectives.hidden_state_loss import distillation_loss
from compressors.objectives.state_predictors import PredictionHeads, Projections
from compressors.settings import DistillationConfig
from compressors.students.copies import trainable_copy

COSINE = {"raw": "raw", "log_sig": "log_sigmoid"}


def _tiny_model(num_layers: int = 3) -> UpstreamModel:
    torch.manual_seed(0)
    return UpstreamModel(uniform_config("hubert", 32, num_layers, 4, 48, conv_channels=8)).eval()


class TestLoss:
    def test_values_and_gradients_are_the_references(self, reference: Path) -> None:
        arrays = np.load(reference / "losses.npz")
        cases = json.loads((reference / "losses.json").read_text())["distill_loss"]
        assert len(cases) > 20
        for case in cases:
            config = DistillationConfig(
                l1_weight=case["l1_weight"],
                l2_weight=case["l2_weight"],
                cosine_weight=case["cos_weight"],
                cosine=COSINE[case["cos_type"]],
            )
            student = torch.tensor(arrays[f"loss/{case['case']}/student"], requires_grad=True)
            loss = distillation_loss(student, torch.tensor(arrays[f"loss/{case['case']}/teacher"]), config)
            loss.total.backward()
            assert loss.total.item() == pytest.approx(case["loss"], rel=1e-5, abs=1e-9), case
            # The reference leaves out the parts that have no weight.
            for part, key, weight in (("l1", "l1", "l1"), ("l2", "mse", "l2"), ("cosine", "cos", "cos")):
                if case[f"{weight}_weight"]:
                    assert getattr(loss, part).item() == pytest.approx(case[f"loss_{key}"], rel=1e-5, abs=1e-9), case
            torch.testing.assert_close(student.grad, torch.tensor(arrays[case["grad_key"]]), rtol=0, atol=1e-6)

    def test_is_computed_in_fp32_under_mixed_precision(self) -> None:
        states = torch.randn(2, 3, 5, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = distillation_loss(states.bfloat16(), states.bfloat16(), DistillationConfig())
        assert {part.dtype for part in loss} == {torch.float32}
        assert loss.total.item() == pytest.approx(-1.0, abs=1e-6)


class TestLayerGroups:
    @pytest.mark.parametrize(
        ("num_layers", "groups"),
        [
            (24, ((0,), (8, 16, 24))),
            (12, ((0,), (4, 8, 12))),
            (3, ((0,), (1, 2, 3))),
            (2, ((0,), (1, 2))),
            (1, ((0,), (1,))),
        ],
    )
    def test_default_to_the_same_relative_positions(self, num_layers: int, groups: tuple[tuple[int, ...], ...]) -> None:
        assert layer_groups(DistillationConfig(), num_layers) == groups

    def test_are_an_option(self) -> None:
        config = DistillationConfig.model_validate({"distillation_layers": [[1, 2], [3]]})
        assert layer_groups(config, 3) == ((1, 2), (3,))

    @pytest.mark.parametrize("groups", [((0,), (4,)), ((-1,),)])
    def test_out_of_range_are_refused(self, groups: tuple[tuple[int, ...], ...]) -> None:
        with pytest.raises(UserError, match=r"from 0 \(the feature projection\) to 3"):
            layer_groups(DistillationConfig(distillation_layers=groups), 3)

    @pytest.mark.parametrize("groups", [(), ((0,), ()), ((0, 1), (1,))])
    def test_empty_or_repeated_are_refused(self, groups: tuple[tuple[int, ...], ...]) -> None:
        with pytest.raises(UserError, match="distinct layers"):
            layer_groups(DistillationConfig(distillation_layers=groups), 3)


class TestProjections:
    def test_are_identities_at_the_start_in_the_groups_order(self) -> None:
        states = [torch.full((2, 5, 8), float(index)) for index in range(4)]
        projections = Projections(((3,), (0, 2)), 8, 8)
        projected = projections(states)
        assert projections.layers == (3, 0, 2)
        assert projected.shape == (2, 3, 5, 8)
        assert projected[0, :, 0, 0].tolist() == [3.0, 0.0, 2.0]

    def test_share_one_layer_in_a_group(self) -> None:
        assert sum(weight.numel() for weight in Projections(((0,), (1, 2, 3)), 8, 8).parameters()) == 2 * (64 + 8)

    def test_are_saved_with_the_layers_they_belong_to(self, tmp_path: Path) -> None:
        Projections(((0,), (4, 8)), 4, 6).save(tmp_path / "sub" / "projections.safetensors")
        with safe_open(tmp_path / "sub" / "projections.safetensors", "pt") as file:
            assert file.metadata() == {"layers": "[[0], [4, 8]]"}
            assert file.get_slice("1.weight").get_shape() == [6, 4]


class TestMeans:
    """``targets=groups``: the mean over a group is predicted instead of its states."""

    def test_of_the_teacher_are_the_targets(self) -> None:
        states = [torch.full((2, 5, 8), float(index)) for index in range(4)]
        for predictors in (
            Projections(((0,), (1, 2, 3)), 8, 8, means=True),
            PredictionHeads(((0,), (1, 2, 3)), 8, 8, means=True),
        ):
            targets = predictors.targets(states)
            assert targets.shape == (2, 2, 5, 8)
            assert targets[0, :, 0, 0].tolist() == [0.0, 2.0]
            assert predictors(states).shape == (2, 2, 5, 8)

    def test_of_the_student_are_projected(self) -> None:
        states = [torch.randn(2, 5, 8) for _ in range(4)]
        projections = Projections(((0,), (1, 2, 3)), 8, 6, means=True)
        expected = projections[1](torch.stack(states[1:]).mean(0))
        torch.testing.assert_close(projections(states)[:, 1], expected)

    def test_are_saved_under_another_name(self, tmp_path: Path) -> None:
        plain = Projections(((0,), (1, 2)), 8, 8)
        means = Projections(((0,), (1, 2)), 8, 8, means=True)
        assert plain.path_in(tmp_path) != means.path_in(tmp_path)


class TestPredictionHeads:
    def test_each_layer_has_its_own_on_the_last_state(self) -> None:
        heads = PredictionHeads(((4,), (8,), (12,)), 8, 6)
        states = [torch.randn(2, 5, 8) for _ in range(3)]
        predicted = heads(states)
        assert heads.layers == (4, 8, 12)
        assert predicted.shape == (2, 3, 5, 6)
        assert heads([torch.zeros(2, 5, 8), states[-1]]).equal(predicted)
        first, _, second = heads[1]  # type: ignore[misc]
        expected = second(torch.nn.functional.gelu(first(states[-1])))
        torch.testing.assert_close(predicted[:, 1], expected)
        assert sum(weight.numel() for weight in heads.parameters()) == 3 * (8 * 8 + 8 + 8 * 6 + 6)

    def test_are_saved_with_the_layers_they_predict(self, tmp_path: Path) -> None:
        PredictionHeads(((4,), (8,)), 4, 6).save(tmp_path / "heads.safetensors")
        with safe_open(tmp_path / "heads.safetensors", "pt") as file:
            assert file.metadata() == {"layers": "[[4], [8]]"}
            assert file.get_slice("1.2.weight").get_shape() == [6, 4]


class TestObjective:
    def _objective(self, dropout: float = 0.0) -> Distillation:
        teacher = _tiny_model()
        rates = DropoutRates(projection=dropout, attention=dropout, feed_forward=0.0, hidden=dropout)
        config = DistillationConfig(dropout=rates)
        projections = Projections(layer_groups(config, 3), 32, 32)
        return Distillation(trainable_copy(teacher, rates), FrozenTeacher(teacher), projections, config)

    def test_a_copy_of_the_teacher_has_nothing_left_to_learn(self) -> None:
        losses = self._objective().train()(torch.randn(2, 1600), 0)
        assert losses["loss"].item() == pytest.approx(-1.0, abs=1e-5)

    def test_the_student_trains_with_dropout_and_the_teacher_stays_as_it_was(self) -> None:
        objective = self._objective(dropout=0.1).train()
        assert not any(module.training for module in objective.teacher.model.modules())
        waveforms = torch.randn(2, 1600)
        first, second = (objective(waveforms, 0)["loss"].item() for _ in range(2))
        assert first != second
        assert first > -0.99
        states = [torch.stack(objective.teacher.states(waveforms)) for _ in range(2)]
        assert torch.equal(*states)
        assert not states[0].requires_grad

    def test_the_teacher_is_neither_trained_nor_saved(self) -> None:
        objective = self._objective()
        student = sum(weight.numel() for weight in objective.student.parameters())
        projections = sum(weight.numel() for weight in objective.projections.parameters())
        (group,) = objective.parameter_groups(1e-3)
        assert sum(weight.numel() for weight in group["params"]) == student + projections
        assert not any("teacher" in key for key in objective.state_dict())
