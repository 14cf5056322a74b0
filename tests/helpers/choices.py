"""Runs resolved from a choice, without a command line."""

from __future__ import annotations

from typing import Any

from bench.config.choice import Choice
from bench.config.overrides import parse_overrides
from bench.config.row_names import compressor_by_row
from bench.config.run import RunConfig, resolve


def choice_of(compressors: str, *assignments: str, **more: Any) -> Choice:
    """Return a choice of compressors, as after ``--compressor``, and assignments, as after ``--set``."""
    rows = compressor_by_row(compressors.split(","))
    return Choice(compressors=rows, settings=parse_overrides(assignments), **{"teacher": "mini-hubert", **more})


def config_of(compressors: str, *assignments: str, **more: Any) -> RunConfig:
    """Resolve such a choice."""
    return resolve(choice_of(compressors, *assignments, **more))


def settings_of(compressors: str, *assignments: str, **more: Any) -> dict[str, dict[str, Any]]:
    """Return the settings of each compressed row of such a choice."""
    return {row: source.settings for row, source in config_of(compressors, *assignments, **more).compressors().items()}
