"""The rows that compression makes: those that a folder knows already, and the models that one compressor will make."""

from __future__ import annotations

from bench.config.overrides import validated
from bench.config.run import ModelSource, RunConfig
from bench.stacking import compressor_type, what_differs
from bench.store.run_folder import RunFolder


def rows_there(folder: RunFolder) -> dict[str, ModelSource]:
    """Read the rows that earlier calls have compressed, or begun to."""
    models = (folder.read_config() or {}).get("models", {})
    there = {row: validated(ModelSource, values, f"{folder.config_path}: {row}") for row, values in models.items()}
    return {row: source for row, source in there.items() if source.compressor}


def rows_to_come(config: RunConfig, row: str) -> list[str]:
    """List the rows of a compression that is not finished: one for each model that its compressor will make."""
    source = config.models[row]
    plugin = compressor_type(source.compressor or "")
    targets = plugin(plugin.config_type.model_validate(source.settings)).target_sparsities()
    return [row + what_differs(plugin.name, model) for model in targets]
