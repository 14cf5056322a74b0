"""Gives all compressors of a sweep the same training: as many updates, or as many MACs, as the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.config.overrides import validated
from bench.config.rows import Row
from bench.contracts import ComparableTraining, Settings
from bench.errors import UserError
from bench.upstream import UpstreamConfig, reference_config


def equally_trained(rows: Sequence[Row], earlier: Sequence[Row], teacher: str | None) -> list[Row]:
    """Stretch or shorten every recipe to the training of the first compressor at the same sparsity.

    Args:
        rows: compressed rows of a sweep.
        earlier: compressed rows in the sweep's folder. The first compressor stays the first when others join.
        teacher: model reference of the teacher to equalise MACs; None to equalise updates.

    Raises:
        UserError: a compressor does not declare the cost of its training, or its recipe does not fit.
    """
    all_rows = list({row.name: row for row in (*earlier, *rows)}.values())
    like_first = [row for row in all_rows if _differ_in_size(row, all_rows[0])]
    others = [row for row in rows if not _differ_in_size(row, all_rows[0])]
    if not others:
        return list(rows)
    shape = teacher_shape(teacher) if teacher is not None else None
    return [
        _with_training_of(row, _recipe(_at_sparsity_of(row, like_first)), shape) if row in others else row
        for row in rows
    ]


def teacher_shape(teacher: str) -> UpstreamConfig:
    """Return the shape of a teacher.

    Raises:
        UserError: it has no layers to compress.
    """
    shape = reference_config(teacher)
    if shape is None:
        raise UserError(f"--teacher {teacher} has no weights to compress. Choose a model; see `bench list teachers`.")
    return shape


def _differ_in_size(row: Row, other: Row) -> bool:
    """Return whether two rows have equal settings, or differ only in sparsity."""
    return _without_size(row) == _without_size(other)


def _without_size(row: Row) -> dict[str, dict[str, Any]]:
    return {part: settings.model_dump(mode="json", exclude={"sparsity"}) for part, settings in row.parts.items()}


def _at_sparsity_of(row: Row, candidates: Sequence[Row]) -> Row:
    """Choose the candidate with the row's sparsity, or the first one if either has a fixed size of its own."""
    return next((other for other in candidates if other.sparsity == row.sparsity), candidates[0])


def _recipe(row: Row) -> ComparableTraining:
    settings = row.settings()
    if not isinstance(settings, ComparableTraining) or not settings.num_updates():
        raise UserError(
            f"Expected compressors that train, and say what that costs. Found {row.compressor}, which does not. "
            "Leave it out, or use --budget preset."
        )
    return settings


def _with_training_of(row: Row, wanted: ComparableTraining, teacher: UpstreamConfig | None) -> Row:
    """Give a row's recipe as many updates as another, or as many MACs if the teacher's shape is given."""
    recipe = _recipe(row)
    num_updates = wanted.num_updates()
    if teacher is not None:
        macs_per_update = recipe.training_macs(teacher) / recipe.num_updates()
        num_updates = round(wanted.training_macs(teacher) / macs_per_update)
    changed: Any = recipe.with_num_updates(num_updates)
    values = changed.model_dump(mode="json")
    settings: Settings = validated(type(changed), values, f"compressor {row.compressor} in {num_updates} updates")
    return row.with_settings(settings)
