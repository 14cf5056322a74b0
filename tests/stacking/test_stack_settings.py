"""Stacks of compressors, `a+b`, on the command line: names, whom `--set` concerns, sizes of a sweep, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.runs.work import compressions
from bench.stacking import compressor_type
from bench.store.run_folder import RunFolder
from bench.testing import TEACHER_SHAPES
from tests.helpers.choices import config_of, settings_of


class TestSet:
    def test_a_bare_size_is_the_first_parts(self) -> None:
        untouched = settings_of("dphubert+low-rank")["dphubert+low-rank"]
        changed = settings_of("dphubert+low-rank", "sparsity=0.3")["dphubert+low-rank"]
        assert changed["dphubert"] == untouched["dphubert"] | {"sparsity": 0.3}
        assert changed["low-rank"] == untouched["low-rank"]

    def test_any_other_bare_key_is_for_all_parts_that_have_it(self) -> None:
        changed = settings_of("dphubert+low-rank+int8", "seconds_per_batch=3")["dphubert+low-rank+int8"]
        assert changed["dphubert"]["seconds_per_batch"] == changed["low-rank"]["seconds_per_batch"] == 3
        assert "seconds_per_batch" not in changed["int8"]

    def test_a_part_is_reached_by_its_name_in_every_compressor(self) -> None:
        rows = settings_of(
            "dphubert,prune-only,dphubert+low-rank", "dphubert.joint.updates=77", "low-rank.sparsity=0.2"
        )
        assert rows["dphubert"]["joint"]["updates"] == 77
        assert rows["dphubert+low-rank"]["dphubert"] == rows["dphubert"]
        assert rows["dphubert+low-rank"]["low-rank"]["sparsity"] == 0.2
        assert rows["prune-only"]["sparsity"] == 0.75

    def test_an_option_of_a_part_may_leave_its_budget_out(self) -> None:
        """`student=distilhubert` is refused beside a sparsity, which a preset must then not bring along."""
        changed = settings_of("distill-only+int8", "student=distilhubert")["distill-only+int8"]
        assert "sparsity" not in changed["distill-only"]

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("int8.energy=1", r"compressor int8: unknown key 'energy'"),
            ("dphubert.sparsty=1", r"compressor dphubert: unknown key 'sparsty'. Did you mean 'sparsity'\?"),
            ("energi=1", r"--set energi: no chosen compressor has this key. Did you mean 'energy'\?"),
            ("prune-only.sparsity=1", r"--set prune-only.sparsity: no chosen compressor"),
            ("dphubert=1", r"--set dphubert: no chosen compressor"),
            ("compressor.energi=1", r"unknown key 'energi'"),
        ],
    )
    def test_mistakes_are_told(self, assignment: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            config_of("dphubert+low-rank+int8", assignment)


class TestSweep:
    def test_a_sparsity_is_the_first_parts_and_the_row_shares_it(self) -> None:
        rows = settings_of("dphubert,dphubert+low-rank+int8", sparsities=(0.5, 0.75), training_budget="preset")
        assert list(rows) == [
            f"{name}-{size}" for name in ("dphubert", "dphubert+low-rank+int8") for size in (0.5, 0.75)
        ]
        for size in (0.5, 0.75):
            stack = rows[f"dphubert+low-rank+int8-{size}"]
            assert stack["dphubert"] == rows[f"dphubert-{size}"]
            assert stack["low-rank"] == settings_of("low-rank")["low-rank"]

    def test_a_size_of_a_later_part_can_be_chosen_beside_it_and_the_first_parts_not(self) -> None:
        sweep = {"sparsities": (0.5,), "training_budget": "preset"}
        rows = settings_of("dphubert+low-rank", "low-rank.sparsity=0.2", **sweep)
        assert rows["dphubert+low-rank-0.5"]["low-rank"]["sparsity"] == 0.2
        with pytest.raises(UserError, match="sizes of a sweep"):
            settings_of("dphubert+low-rank", "dphubert.sparsity=0.2", **sweep)

    @pytest.mark.parametrize("budget", ["updates", "macs"])
    def test_a_part_that_does_not_train_adds_nothing_to_the_budget(self, budget: str) -> None:
        config = config_of("dphubert,dphubert+int8", sparsities=(0.5,), training_budget=budget)
        models = config.models
        assert models["dphubert+int8-0.5"].settings["dphubert"] == models["dphubert-0.5"].settings

    def test_parts_that_train_share_the_budget_in_proportion(self) -> None:
        preset = compressor_type("dphubert+low-rank+int8").presets["mini"]
        alone = [compressor_type(name).presets["mini"] for name in ("dphubert", "low-rank")]
        assert preset.num_updates() == sum(part.num_updates() for part in alone)
        changed = preset.with_num_updates(501)
        assert changed.num_updates() == 501
        share = 501 * alone[0].num_updates() / preset.num_updates()
        assert changed.dphubert.num_updates() == pytest.approx(share, abs=1)
        shape = TEACHER_SHAPES["hubert"]
        assert preset.training_macs(shape) == sum(part.training_macs(shape) for part in alone)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("dphubert+", r"joined by \+"),
            ("dphubert+dphubert", "one part twice"),
            ("dphubert+int9", "Did you mean 'int8'"),
            ("int8+dphubert", "Write dphubert before int8"),
            ("low-rank+prune-only", "Write prune-only before low-rank"),
        ],
    )
    def test_what_is_no_stack_is_refused(self, name: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            config_of(name)

    def test_stacks_come_after_the_rows_that_they_begin_with(self, tmp_path: Path) -> None:
        config = config_of("dphubert+low-rank+int8,dphubert+int8,dphubert")
        items = compressions(RunFolder(tmp_path / "run"), config)
        assert [item.row for item in items] == ["dphubert", "dphubert+int8", "dphubert+low-rank+int8"]
        assert [item.needs for item in items] == [(), (items[0],), (items[0],)]
        assert list(config.compressors()) == ["dphubert+low-rank+int8", "dphubert+int8", "dphubert"]

    def test_what_a_stack_aims_at_is_what_its_parts_leave(self) -> None:
        assert _targets("dphubert+int8", "sparsity=0.6") == {"dphubert+int8": 0.6}
        assert _targets("dphubert+low-rank", "low-rank.sparsity=0.3") == {"dphubert+low-rank": 0.825}
        assert _targets("dphubert+low-rank", "low-rank.energy=0.9") == {"dphubert+low-rank": None}
        sizes = _targets("dphubert+low-rank+int8", "sparsity=[0.5, 0.75]", "low-rank.sparsity=0.2")
        assert sizes == {"dphubert+low-rank+int8-0.5": 0.6, "dphubert+low-rank+int8-0.75": 0.8}
        no_share = _targets("dphubert+int8", "sparsity=[0.5, 0.75]", "target=macs")
        assert no_share == {"dphubert+int8-0.5": None, "dphubert+int8-0.75": None}


def _targets(name: str, *assignments: str) -> dict[str, float | None]:
    kind = compressor_type(name)
    targets: dict[str, float | None] = kind(
        kind.config_type.model_validate(settings_of(name, *assignments)[name])
    ).target_sparsities()
    return targets
