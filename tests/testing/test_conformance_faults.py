"""The conformance test finds what is wrong with a compressor, and says so."""

from __future__ import annotations

import random
import unittest
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
import torch
from pydantic import ConfigDict

from bench.contracts import AudioSource, Context, Settings
from bench.errors import UserError
from bench.testing import CompressorConformance
from bench.upstream import UpstreamModel
from bench.upstream.reduction import quantised
from tests.plugin_package.halving_compressor import Checkpoint, Halving, HalvingConfig

Models = dict[str, UpstreamModel]


def conformance(faulty: type[Any]) -> CompressorConformance:
    class Conformance(CompressorConformance):
        compressor = faulty
        settings = ("updates=4", "checkpoint_updates=1")
        teachers = ("hubert",)

    return Conformance()


def presets_of(config_type: type[HalvingConfig]) -> dict[str, Settings]:
    return {name: config_type(updates=4) for name in ("paper", "mini", "smoke")}


class IgnoresTheSeed(Halving):
    def compress(self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context) -> Models:
        return super().compress(teacher, audio, workdir, replace(context, seed=random.SystemRandom().randrange(2**32)))


class DrawsFromTheProcess(Halving):
    def compress(self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context) -> Models:
        return super().compress(teacher, audio, workdir, replace(context, seed=int(torch.randint(2**31, ()))))


class IgnoresTheWorkdir(Halving):
    def compress(self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context) -> Models:
        return super().compress(teacher, audio, workdir / uuid4().hex, context)


class TakesOverAnyWork(Halving):
    def _work(self, *about: object) -> dict[str, Any]:
        return {}


class ForgetsTheOptimizer(Halving):
    def compress(self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context) -> Models:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoint, "restore", _restore_without_optimizer)
            return super().compress(teacher, audio, workdir, context)


def _restore_without_optimizer(checkpoint: Checkpoint) -> int:
    if not checkpoint.path.exists():
        return 0
    state = torch.load(checkpoint.path, weights_only=True)
    checkpoint.student.load_state_dict(state["student"])
    return int(state["num_updates"])


class ChecksNothing(Halving):
    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        pass


class WantsToBeFirst(Halving):
    def check_ahead(self, *about: object) -> None:
        raise UserError("never second")


class ComplainsAtLength(Halving):
    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        try:
            super().check(teacher, audio, context)
        except Exception as error:
            raise type(error)(f"{error}\nAnd so on.") from error


class BudgetedConfig(HalvingConfig):
    sparsity: float = 0.75
    """Ignored."""


class MissesTheBudget(Halving):
    config_type = BudgetedConfig
    presets = presets_of(BudgetedConfig)


class UndocumentedConfig(HalvingConfig):
    depth: int = 3


class HasNoHelp(Halving):
    config_type = UndocumentedConfig
    presets = presets_of(UndocumentedConfig)


class LenientConfig(HalvingConfig):
    model_config = ConfigDict(extra="ignore", frozen=False)


class TakesAnyKey(Halving):
    config_type = LenientConfig
    presets = presets_of(LenientConfig)


class HasTwoPresets(Halving):
    presets: ClassVar[Mapping[str, Settings]] = {name: HalvingConfig(updates=1) for name in ("paper", "mini")}


class HasAnInvalidPreset(Halving):
    presets: ClassVar[Mapping[str, Settings]] = {
        **Halving.presets,
        "mini": HalvingConfig(updates=1).model_copy(update={"keep_every": "2"}),
    }


class MiscountingConfig(HalvingConfig):
    def num_updates(self) -> int:
        return self.updates

    def with_num_updates(self, num_updates: int) -> MiscountingConfig:
        return self.model_copy(update={"updates": num_updates // 2 * 2})

    def training_macs(self, teacher: object) -> int:
        return 1000 * self.updates


class Miscounts(Halving):
    config_type = MiscountingConfig
    presets = presets_of(MiscountingConfig)


def with_result(change: Any) -> type[Halving]:
    class Changed(Halving):
        def compress(self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context) -> Models:
            models = super().compress(teacher, audio, workdir, context)
            changed = change(teacher, models["halving"])
            return changed if isinstance(changed, dict) else models

    return Changed


def set_to_nan(model: UpstreamModel) -> None:
    torch.nn.init.constant_(model.layer_norm.weight, float("nan"))


def double_states(model: UpstreamModel) -> None:
    model.layer_norm.register_forward_hook(lambda module, inputs, output: 2 * output)


class AnnouncesAnother(Halving):
    def target_sparsities(self) -> dict[str, float | None]:
        return {"elsewhere": 0.5}


class PlainClass:
    """No compressor by its base class."""


class TestDescription:
    def test_of_a_plain_class(self) -> None:
        with pytest.raises(AssertionError, match=r"bench\.contracts\.Compressor"):
            conformance(PlainClass).test_has_the_base_class()

    def test_of_no_entry_point(self) -> None:
        with pytest.raises(AssertionError, match=r"entry point 'halving'.*Declare it, and install"):
            conformance(Halving).test_is_found_by_its_name()

    def test_of_settings_without_docstrings(self) -> None:
        with pytest.raises(AssertionError, match=r"docstring.*UndocumentedConfig.depth\."):
            conformance(HasNoHelp).test_settings_are_documented()
        conformance(Halving).test_settings_are_documented()

    def test_of_settings_that_take_anything(self) -> None:
        with pytest.raises(AssertionError, match="takes the key no_such_setting"):
            conformance(TakesAnyKey).test_settings_refuse_what_they_do_not_know()

    def test_of_presets(self) -> None:
        with pytest.raises(AssertionError, match="Expected a preset 'smoke'"):
            conformance(HasTwoPresets).test_presets_are_complete()
        with pytest.raises(AssertionError, match="'mini' does not survive"), pytest.warns(UserWarning):
            conformance(HasAnInvalidPreset).test_presets_are_complete()

    def test_of_its_training(self) -> None:
        with pytest.raises(AssertionError, match=r"with_num_updates\(41\).* has 40 updates"):
            conformance(Miscounts).test_updates_can_be_chosen()


class TestCheck:
    def test_that_refuses_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="teacher fbank"):
            conformance(ChecksNothing).test_check_refuses_a_teacher_without_weights()
        with pytest.raises(AssertionError, match="accepts a folder that is not there, and compress"):
            conformance(ChecksNothing).test_check_refuses_unusable_audio(tmp_path)

    def test_that_refuses_every_further_part(self) -> None:
        with pytest.raises(UserError, match="never second"):
            conformance(WantsToBeFirst).test_check_accepts_what_works()

    def test_with_long_messages(self) -> None:
        with pytest.raises(AssertionError, match="error of one line"):
            conformance(ComplainsAtLength).test_check_refuses_a_teacher_without_weights()


class TestResult:
    def test_of_other_names_than_announced(self) -> None:
        with pytest.raises(AssertionError, match=r"target_sparsities\(\) names .*'elsewhere'"):
            conformance(AnnouncesAnother).test_targets_have_the_names_of_the_models()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda model: {"half": model}, "'halving' or halving-.*Found 'half'"),
            (lambda model: {"halving": model.config}, "Expected an UpstreamModel"),
            (lambda model: model.layers.train(), "Found layers in training"),
            (set_to_nan, "Found NaN"),
            (lambda model: {}, "at least one model of hubert"),
            (
                lambda model: {"halving": quantised(model, ["feature_projection.projection"]).eval()},
                "makes_reduced_linears",
            ),
        ],
        ids=["name", "type", "training", "nan", "none", "reduced"],
    )
    def test_that_does_not_work(self, change: Any, message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(with_result(lambda _, model: change(model))).test_makes_working_models_of_every_teacher()

    def test_that_is_more_than_its_weights(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="Hidden state 0 of 'halving' is another after saving"):
            conformance(with_result(lambda _, model: double_states(model))).test_models_survive_being_saved(tmp_path)

    def test_off_the_budget(self) -> None:
        with pytest.raises(AssertionError, match=r"Expected sparsity=0.5 .* 0\.\d+ are removed"):
            conformance(MissesTheBudget).test_meets_the_budget()

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda teacher: teacher.layer_norm.bias.data.add_(1), "weights"),
            (lambda teacher: teacher.train(), "training mode"),
            (lambda teacher: teacher.requires_grad_(False), "requires_grad"),
            (double_states, "hidden states"),
        ],
        ids=["weights", "mode", "requires_grad", "hooks"],
    )
    def test_of_another_teacher_than_before(self, change: Any, what: str, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=f"changes the teacher: its {what}"):
            conformance(with_result(lambda teacher, _: change(teacher))).test_leaves_the_teacher_alone(tmp_path)

    @pytest.mark.parametrize("faulty", [IgnoresTheSeed, DrawsFromTheProcess])
    def test_by_chance(self, faulty: type[Halving], tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=r"Take all that is random from context\.seed"):
            conformance(faulty).test_same_seed_same_model(tmp_path)


class TestResuming:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("faulty", "message"),
        [(IgnoresTheWorkdir, "does 100% of it"), (ForgetsTheOptimizer, "makes another model")],
    )
    def test_that_fails(self, faulty: type[Halving], message: str, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(faulty).test_goes_on_after_an_interruption(tmp_path)

    def test_that_does_it_all_again(self) -> None:
        with pytest.raises(AssertionError, match="does 100% of the whole work again"):
            conformance(IgnoresTheWorkdir).test_answers_a_finished_call_at_once()

    @pytest.mark.parametrize("faulty", [TakesOverAnyWork, IgnoresTheWorkdir])
    def test_that_takes_over_other_work(self, faulty: type[Halving], tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="on the workdir of another seed"):
            conformance(faulty).test_refuses_the_workdir_of_other_work(tmp_path)

    def test_is_not_asked_of_a_method_that_takes_seconds(self, tmp_path: Path) -> None:
        test = conformance(IgnoresTheWorkdir)
        type(test).resumes = False
        with pytest.raises(unittest.SkipTest):
            test.test_answers_a_finished_call_at_once()
        with pytest.raises(unittest.SkipTest):
            test.test_refuses_the_workdir_of_other_work(tmp_path)
