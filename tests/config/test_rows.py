"""Rows that a choice is resolved to."""

from __future__ import annotations

from typing import Any

import pytest

from bench import registry
from bench.config.rows import Row, rows
from bench.errors import UserError
from tests.helpers.choices import choice_of, config_of


def resolved(compressors: str, *assignments: str, **more: Any) -> dict[str, Row]:
    return {row.name: row for row in rows(choice_of(compressors, *assignments, **more))}


def test_reference_rows_come_first_and_the_teacher_before_all() -> None:
    found = resolved("int8", references=("fbank",))
    assert [(row.name, row.reference) for row in found.values()] == [
        ("mini-hubert", "mini-hubert"),
        ("fbank", "fbank"),
        ("int8", None),
    ]


def test_parts_have_typed_settings_in_their_order() -> None:
    parts = resolved("dphubert+int8", "sparsity=0.5")["dphubert+int8"].parts
    assert list(parts) == ["dphubert", "int8"]
    for name, settings in parts.items():
        assert type(settings) is registry.load("bench.compressors", name).config_type
    assert getattr(parts["dphubert"], "sparsity") == 0.5  # noqa: B009


def test_config_yaml_holds_the_same_rows() -> None:
    choice: dict[str, Any] = {"sparsities": (0.5, 0.75), "training_budget": "updates", "seeds": (0, 3)}
    chosen = resolved("dphubert,small=prune-only+int8", **choice)
    config = config_of("dphubert,small=prune-only+int8", **choice)
    stored = {name: config.row(name) for name in config.models}
    assert list(stored) == list(chosen)
    for name, row in chosen.items():
        assert stored[name].source == row.source
        assert stored[name].target_sparsities() == row.target_sparsities() if row.compressor else not row.parts


@pytest.mark.parametrize(
    ("compressors", "assignments", "targets"),
    [
        ("prune-only", ("sparsity=0.3",), {"prune-only": 0.3}),
        ("small=dphubert", ("sparsity=[0.5, 0.75]",), {"small-0.5": 0.5, "small-0.75": 0.75}),
        ("prune-only+int8", ("sparsity=0.3",), {"prune-only+int8": 0.3}),
        ("dphubert", ("target=macs",), {"dphubert": None}),
        ("prune-only", ("params=12M",), {"prune-only": None}),
    ],
)
def test_target_sizes(compressors: str, assignments: tuple[str, ...], targets: dict[str, float | None]) -> None:
    *_, row = resolved(compressors, *assignments).values()
    assert row.target_sparsities() == targets


def test_what_the_user_has_set_is_known_by_part() -> None:
    row = resolved("a=dphubert+int8", "a.joint.updates=200", "int8.linears=[attention]")["a"]
    assert row.chosen == {"dphubert": {"joint.updates"}, "int8": {"linears"}}


def test_a_warm_start_fits_the_first_part_alone() -> None:
    with pytest.raises(UserError, match="--from: low-rank"):
        resolved("low-rank+int8", start="mini-hubert")
    with pytest.raises(UserError, match="nothing is compressed"):
        resolved("none", start="mini-hubert")
