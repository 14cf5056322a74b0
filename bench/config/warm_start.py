"""Warm start, ``--from``: fits the settings of rows to the model that compression starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.config.overrides import validated
from bench.config.rows import Row
from bench.errors import UserError
from bench.stacking import compressor_parts
from bench.upstream import UpstreamConfig, reference_config


def warm_started(rows: Sequence[Row], start: str, teacher: str | None) -> list[Row]:
    """Return compressed rows with the settings of a warm start. Reads only shapes of models.

    Args:
        rows: compressed rows.
        start: model reference of the model to start from.
        teacher: model reference of the teacher.

    Raises:
        UserError: nothing is compressed, or a compressor has no warm start or cannot start from this model.
    """
    if not rows:
        raise UserError("--from: nothing is compressed here. Choose a --compressor.")
    start_shape, teacher_shape = reference_config(start), reference_config(teacher or "")
    if start_shape is None:
        raise UserError(f"--from {start} has no weights to start from. Choose a compressed model.")
    if teacher_shape is None:
        raise UserError(f"--teacher {teacher} has no weights to compress. Name the one that --from was made of.")
    return [_warm_started(row, start_shape, teacher_shape) for row in rows]


def _warm_started(row: Row, start: UpstreamConfig, teacher: UpstreamConfig) -> Row:
    """Fit the settings of a stack's first part. Later parts compress its result."""
    first, plugin = next(iter(compressor_parts(row.compressor).items()))
    fitted = plugin(row.parts[first]).warm_started(start, teacher, row.chosen[first])
    settings = validated(plugin.config_type, fitted.model_dump(mode="json"), f"compressor {first}, by a warm start")
    return replace(row, parts={**row.parts, first: settings})
