"""Rows of their own name, ``row=compressor``: several settings of one compressor beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from tests.helpers.choices import config_of, settings_of
from tests.helpers.command_line import bench


class TestSet:
    def test_a_row_has_settings_of_its_own(self) -> None:
        rows = settings_of("dphubert,slow=dphubert", "slow.joint.updates=999")
        assert rows["slow"]["joint"]["updates"] == 999
        assert rows["dphubert"]["joint"]["updates"] == 300
        assert rows["slow"] | {"joint": None} == rows["dphubert"] | {"joint": None}

    def test_its_own_go_before_those_of_its_compressor_and_of_all(self) -> None:
        rows = settings_of(
            "dphubert,a=dphubert,b=prune-only",
            "a.sparsity=0.1",
            "dphubert.sparsity=0.3",
            "sparsity=0.2",
            "compressor.round_to=8",
            "a.round_to=4",
        )
        assert [settings["sparsity"] for settings in rows.values()] == [0.3, 0.1, 0.2]
        assert [settings["round_to"] for settings in rows.values()] == [8, 4, 8]

    def test_a_part_of_a_stack_is_reached_through_its_row(self) -> None:
        rows = settings_of("small=dphubert+int8", "small.dphubert.sparsity=0.9", "small.units=[head]")
        assert rows["small"]["dphubert"]["sparsity"] == 0.9
        assert rows["small"]["dphubert"]["units"] == ["head"]

    def test_its_name_may_have_dots(self) -> None:
        assert settings_of("v1.5=dphubert", "v1.5.sparsity=0.9")["v1.5"]["sparsity"] == 0.9

    @pytest.mark.parametrize(
        ("compressor", "void", "by"),
        [
            ("dphubert", "gate_learning_rate=0.1", "schedule=auto"),
            ("dphubert+int8", "dphubert.sparsity_warmup_updates=9", "schedule=auto"),
        ],
    )
    def test_what_another_setting_makes_void_is_refused(self, compressor: str, void: str, by: str) -> None:
        field = void.partition("=")[0].rpartition(".")[2]
        with pytest.raises(UserError, match=f"--set {field}: .*compressor dphubert leave it without effect"):
            settings_of(compressor, void, by)
        settings_of(compressor, void)
        assert field not in str(settings_of(compressor, by))

    def test_what_is_void_in_some_rows_alone_is_for_the_others(self) -> None:
        rows = settings_of("dphubert,auto=dphubert", "auto.schedule=auto", "gate_learning_rate=0.05")
        assert rows["dphubert"]["gate_learning_rate"] == 0.05
        assert "gate_learning_rate" not in rows["auto"]
        with pytest.raises(UserError, match="without effect"):
            settings_of("dphubert,auto=dphubert", "auto.schedule=auto", "auto.gate_learning_rate=0.05")

    def test_in_a_sweep_it_has_a_row_a_sparsity(self) -> None:
        config = config_of("dphubert,both=dphubert", "both.masked_weight=0.2", sparsities=(0.5, 0.75))
        assert list(config.compressors()) == ["dphubert-0.5", "dphubert-0.75", "both-0.5", "both-0.75"]
        assert {source.compressor for source in config.compressors().values()} == {"dphubert"}


class TestTrainingBudget:
    def test_other_settings_of_the_first_compressor_train_as_much(self) -> None:
        choice: dict[str, Any] = {"sparsities": (0.5, 0.75), "training_budget": "macs"}
        config = config_of("dphubert,both=dphubert", "both.objective=both", **choice)
        rows = config.compressors()
        updates = {row: source.settings["joint"]["updates"] for row, source in rows.items()}
        assert updates["dphubert-0.5"] == updates["dphubert-0.75"] == 300
        assert max(updates["both-0.5"], updates["both-0.75"]) < 300


@pytest.mark.parametrize(
    ("compressors", "assignment", "told"),
    [
        ("a b=dphubert", "sparsity=0.5", "Expected a row's name of at most 200 letters"),
        (f"{'a' * 201}=dphubert", "sparsity=0.5", "at most 200 letters"),
        ("=dphubert", "sparsity=0.5", "Expected a row's name"),
        ("prune-only=dphubert", "sparsity=0.5", "'prune-only' has a meaning of its own"),
        ("data=dphubert", "sparsity=0.5", "'data' has a meaning of its own"),
        ("joint=dphubert", "sparsity=0.5", "'joint' is a setting"),
        ("a=dphubert,a=prune-only", "sparsity=0.5", "--compressor names two rows 'a'"),
        ("mini-hubert=dphubert", "sparsity=0.5", "Two rows of the leaderboard would be called 'mini-hubert'"),
        ("a=dphubert", "a.sparsty=0.5", "unknown key 'sparsty'. Did you mean 'sparsity'?"),
        ("a=dphubert", "b.sparsity=0.5", "has this key, and no row is called 'b' (name one: b=COMPRESSOR)."),
        ("a=dphubert", "a=0.5", "--set a: no chosen compressor has this key"),
    ],
)
def test_a_mistake_is_told_in_one_line(compressors: str, assignment: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        config_of(compressors, assignment)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    common = ["--preset", "smoke", "--tasks", "ks", "--out", str(tmp_path / "run"), "--dry-run"]
    told = bench("run", "--compressor", "dphubert,gentle=dphubert", "--set", "gentle.sparsity=0.3", *common)
    assert told.returncode == 0, told.stderr
    assert "gentle" in told.stdout
    assert "Unknown compressor 'dphuber'" in bench("run", "--compressor", "gentle=dphuber", *common).stderr
