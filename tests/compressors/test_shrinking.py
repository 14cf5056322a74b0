"""A student that shrinks while it trains goes on as the whole one would with the same units closed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.optim import AdamW

from bench.testing import TEACHER_SHAPES
from bench.upstream import UpstreamModel
from bench.upstream.config import DropoutRates
from bench.upstream.cost import kept_units
from bench.upstream.gate_kinds import open_probability
from bench.upstream.pruning import prune
from compressors.dphubert.compressor import DPHuBERT
from compressors.dphubert.config import DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.dphubert.shrinking import CLOSED_FOR_GOOD, open_units
from compressors.dphubert.sparsity import expected_sparsity
from compressors.settings import StageConfig
from tests.helpers.method_checks import assert_interruptions_change_nothing

LEARNING_RATE = 1e-2


def _config(**changes: object) -> DPHuBERTConfig:
    fields: dict[str, object] = {
        "joint": StageConfig(updates=40, warmup_updates=2, learning_rate=1e-3),
        "final": StageConfig(updates=40, warmup_updates=2, learning_rate=1e-3),
        "sparsity": 0.6,
        "dropout": DropoutRates(projection=0, attention=0, feed_forward=0, hidden=0),
        "shrink": True,
    }
    return DPHuBERTConfig.model_validate(fields | changes)


class _Training:
    """One of two twins, of which one shrinks."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.objective = JointDistillationPruning(UpstreamModel(TEACHER_SHAPES[name]).eval(), _config())
        self.objective.eval()
        self.optimizer = AdamW(self.objective.parameter_groups(LEARNING_RATE))

    def close(self) -> None:
        """Close most heads and feed-forward units, all of layer 1's among them, for all that draws may bring."""
        with torch.no_grad():
            for key, gate in self.objective.gates.items():
                unit, layer = key.split("/")
                if unit != "conv":
                    closed = 30.0 * (torch.arange(len(gate.log_alpha)) % 3 > 0) + 30.0 * (layer == "1")
                    gate.log_alpha += 5.0 - 2 * closed

    def step(self, update: int) -> None:
        torch.manual_seed(update)
        self.objective(torch.randn(2, 4000), update)["loss"].backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def shrink(self) -> None:
        self.objective.before_update(0, self.optimizer)

    @torch.no_grad()
    def states(self, *, pruned: bool = False) -> torch.Tensor:
        student = self.objective.distillation.student
        if pruned:
            student = prune(student, self.objective.gates.hardened_masks())
        torch.manual_seed(1)
        return torch.stack(student(torch.randn(2, 4000))[0])


@pytest.fixture(params=["hubert", "wavlm"])
def twins(request: pytest.FixtureRequest) -> tuple[_Training, _Training]:
    """Two trainings with Adam's moments and closed gates, the second of them shrunk."""
    whole, shrunk = _Training(request.param), _Training(request.param)
    for training in (whole, shrunk):
        training.step(0)
        training.close()
    shrunk.shrink()
    return whole, shrunk


class TestShrinking:
    def test_what_has_closed_is_gone_but_the_last_of_a_layer(self, twins: tuple[_Training, _Training]) -> None:
        units = [kept_units(training.objective.gates.shape) for training in twins]
        for unit in ("head", "interm"):
            assert units[1][unit] == [
                1 if layer == 1 else (count + 2) // 3 for layer, count in enumerate(units[0][unit])
            ]
        assert units[1]["conv"] == units[0]["conv"]
        for key, gate in twins[1].objective.gates.items():
            if not key.startswith("conv/") and not key.endswith("/1"):
                assert (open_probability(gate.log_alpha) >= CLOSED_FOR_GOOD).all()

    def test_gated_and_pruned_models_compute_what_the_whole_ones_do(self, twins: tuple[_Training, _Training]) -> None:
        whole, shrunk = twins
        assert twins[1].objective.gates.shape != twins[0].objective.gates.shape
        torch.testing.assert_close(shrunk.states(), whole.states())
        torch.testing.assert_close(shrunk.states(pruned=True), whole.states(pruned=True))

    def test_what_is_gone_was_expected_to_be(self, twins: tuple[_Training, _Training]) -> None:
        expected = [
            expected_sparsity(training.objective.gates, training.objective.budget, training.objective.config).item()
            for training in twins
        ]
        # Of the last head and feed-forward unit of layer 1, whose gates have closed too, nothing is expected either.
        assert expected[1] == pytest.approx(expected[0], abs=1e-5)

    def test_updates_go_on_with_their_moments(self, twins: tuple[_Training, _Training]) -> None:
        whole, shrunk = twins
        for update in (1, 2):
            for training in twins:
                training.step(update)
        torch.testing.assert_close(shrunk.states(), whole.states(), rtol=1e-3, atol=1e-4)
        groups = [[group["lr"] for group in training.optimizer.param_groups] for training in twins]
        assert groups[0] == groups[1]
        trained = {id(parameter) for group in shrunk.optimizer.param_groups for parameter in group["params"]}
        assert trained == {id(parameter) for parameter in shrunk.objective.parameters()}
        assert {id(parameter) for parameter in shrunk.optimizer.state} <= trained

    def test_nothing_happens_where_it_is_off_or_nothing_has_closed(self) -> None:
        training = _Training("hubert")
        assert all(mask.all() for mask in open_units(training.objective.gates).values())
        student = training.objective.distillation.student
        training.shrink()
        training.close()
        training.objective.config = _config(shrink=False)
        training.shrink()
        assert training.objective.distillation.student is student

    def test_its_state_loads_into_a_whole_one(self, twins: tuple[_Training, _Training]) -> None:
        whole, shrunk = twins
        whole.objective.load_state_dict(shrunk.objective.state_dict())
        assert whole.objective.gates.shape == shrunk.objective.gates.shape
        torch.testing.assert_close(whole.states(), shrunk.states(), rtol=0, atol=0)


def test_interruptions_change_nothing(speech_folder: Path, tmp_path: Path) -> None:
    """Gates close fast enough for the student to shrink in the first stage."""
    config = _config(
        gate_learning_rate=1.0,
        initial_quadratic_multiplier=50.0,
        sparsity_warmup_updates=10,
        seconds_per_batch=3.0,
        max_duration_s=1.5,
        checkpoint_updates=5,
        log_updates=2,
    )
    assert_interruptions_change_nothing(DPHuBERT(config), ["joint", "final"], speech_folder, tmp_path)
    checkpoint = torch.load(tmp_path / "interrupted" / "joint.ckpt", weights_only=True)
    widths = [
        value.shape[0] for name, value in checkpoint["state_dict"].items() if name.endswith("intermediate_dense.weight")
    ]
    assert min(widths) < TEACHER_SHAPES["hubert"].layers[0].feed_forward
