"""Can a sweep give every method the same training?"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench import registry
from bench.config.rows import Row
from bench.config.training_budget import equally_trained
from bench.contracts import ComparableTraining, Settings
from bench.errors import UserError
from bench.upstream import UpstreamConfig
from bench.upstream.cost import count_macs
from bench.upstream.reference import reference_config
from compressors.dphubert.config import MINI, PAPER
from compressors.training.staged_training import StagedTraining
from tests.helpers.choices import settings_of

METHODS = ("dphubert", "distill-only", "prune-only", "masked-distill")
TEACHER = "random:mini-hubert"


def shape() -> UpstreamConfig:
    config = reference_config(TEACHER)
    assert config is not None
    return config


def recipe(name: str, preset: str = "mini") -> ComparableTraining:
    settings = registry.load("bench.compressors", name).presets[preset]
    assert isinstance(settings, ComparableTraining)
    return settings


def sweep(*methods: str, sparsity: float = 0.75) -> list[Row]:
    presets = {name: registry.load("bench.compressors", name).presets["mini"] for name in methods}
    return [
        Row(f"{name}-{sparsity}", None, name, {name: preset.model_copy(update={"sparsity": sparsity})})
        for name, preset in presets.items()
    ]


def changed(rows: Sequence[Row], compressor: str, settings: Settings) -> list[Row]:
    return [row.with_settings(settings) if row.compressor == compressor else row for row in rows]


def trained(rows: Sequence[Row]) -> dict[str, ComparableTraining]:
    recipes = {row.compressor: row.settings() for row in rows}
    assert all(isinstance(recipe, ComparableTraining) for recipe in recipes.values())
    return recipes  # type: ignore[return-value]


def _stages(preset: ComparableTraining) -> dict[str, object]:
    assert isinstance(preset, StagedTraining)
    return dict(preset.stages())


class TestRecipe:
    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("preset", ["paper", "mini", "smoke"])
    @pytest.mark.parametrize("factor", [0.4, 1, 3])
    def test_has_the_updates_asked_for(self, name: str, preset: str, factor: float) -> None:
        before = recipe(name, preset)
        wanted = round(factor * before.num_updates())
        assert before.with_num_updates(wanted).num_updates() == wanted

    def test_is_stretched_evenly(self) -> None:
        longer = MINI.with_num_updates(4500)
        assert (longer.joint.updates, longer.joint.warmup_updates) == (3000, 300)
        assert (longer.final.updates, longer.final.warmup_updates) == (1500, 150)
        assert longer.sparsity_warmup_updates == 1500
        assert longer.joint.learning_rate == MINI.joint.learning_rate

    def test_stays_itself_in_its_own_updates(self) -> None:
        assert PAPER.with_num_updates(75_000) == PAPER

    def test_cannot_have_fewer_updates_than_stages(self) -> None:
        with pytest.raises(UserError, match="joint, final"):
            MINI.with_num_updates(1)

    def test_costs_a_forward_of_the_teacher_and_three_of_what_learns(self) -> None:
        a_crop = count_macs(shape(), 2 * 16_000)
        crops = 2.0  # batches of 4 s in crops of 2 s
        joint = 300 * crops * 4 * a_crop
        final = 150 * crops * (1 + 3 * 0.25) * a_crop
        assert MINI.training_macs(shape()) == pytest.approx(joint + final, rel=1e-3)

    @pytest.mark.parametrize("name", METHODS)
    def test_costs_in_proportion_to_its_updates(self, name: str) -> None:
        before = recipe(name)
        longer = before.with_num_updates(10 * before.num_updates())
        assert longer.training_macs(shape()) == pytest.approx(10 * before.training_macs(shape()), rel=1e-6)


class TestSweep:
    def test_by_updates(self) -> None:
        recipes = trained(equally_trained(sweep(*METHODS), (), None))
        assert {recipe.num_updates() for recipe in recipes.values()} == {MINI.num_updates()}

    def test_by_macs(self) -> None:
        recipes = trained(equally_trained(sweep(*METHODS), (), TEACHER))
        wanted = MINI.training_macs(shape())
        for name, found in recipes.items():
            assert found.training_macs(shape()) == pytest.approx(wanted, rel=0.01), name
        # Without a forward pass of the teacher, the same compute buys more updates.
        assert recipes["prune-only"].num_updates() > recipes["dphubert"].num_updates()

    def test_a_fixed_student_may_come_first(self) -> None:
        plugin = registry.load("bench.compressors", "distill-only")
        fixed = plugin.config_type.model_validate({"student": "distilhubert", **_stages(plugin.presets["paper"])})
        rows = changed(sweep("distill-only", "dphubert"), "distill-only", fixed)
        recipes = trained(equally_trained(rows, (), None))
        assert {recipe.num_updates() for recipe in recipes.values()} == {200_000}

    def test_who_joins_later_is_measured_by_the_first(self) -> None:
        earlier = changed(sweep("dphubert"), "dphubert", MINI.with_num_updates(900))
        recipes = trained(equally_trained(sweep("distill-only", "prune-only"), earlier, None))
        assert {recipe.num_updates() for recipe in recipes.values()} == {900}

    def test_without_training_there_is_nothing_to_compare(self) -> None:
        rows = sweep("dphubert", "prune-only")
        untrained = rows[1].settings().model_copy(update={"importance": "l1", "recovery": None})
        with pytest.raises(UserError, match=r"prune-only.*--budget preset"):
            equally_trained(changed(rows, "prune-only", untrained), (), None)

    def test_by_the_presets_own(self) -> None:
        rows = settings_of(",".join(METHODS), sparsities=(0.75,), training_budget="preset")
        for name, settings in settings_of(",".join(METHODS), "sparsity=0.75").items():
            assert rows[f"{name}-0.75"] == settings
