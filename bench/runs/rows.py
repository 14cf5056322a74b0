"""The rows that compression makes: those already in a folder, and the models that one compressor will make."""

from __future__ import annotations

from bench.config.overrides import validated
from bench.config.rows import ModelSource
from bench.config.run import RunConfig
from bench.store.run_folder import RunFolder


def rows_there(folder: RunFolder) -> dict[str, ModelSource]:
    """Read the rows whose compression earlier calls have finished or begun."""
    models = (folder.read_config() or {}).get("models", {})
    there = {row: validated(ModelSource, values, f"{folder.config_path}: {row}") for row, values in models.items()}
    return {row: source for row, source in there.items() if source.compressor}


def rows_to_come(config: RunConfig, row: str) -> list[str]:
    """List the rows of an unfinished compression: one for each model that its compressor will make."""
    return list(config.row(row).target_sparsities())
