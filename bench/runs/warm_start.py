"""Fits recipes to the model that compression goes on from, ``--from``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.config.overrides import parse_overrides, validated
from bench.config.run import ModelSource, RunConfig
from bench.contracts import Compressor, WarmStart
from bench.errors import UserError
from bench.stacking import by_part, compressor_parts, joined
from bench.upstream import UpstreamConfig, UpstreamModel, load_upstream, reference_config
from bench.upstream.checkpoint import is_suite_folder


def with_warm_start(config: RunConfig, assignments: Sequence[str]) -> RunConfig:
    """Return the configuration with every recipe as it goes on from ``config.start``; weights are not touched.

    Args:
        config: resolved, with a teacher; returned as it is where it starts from no model.
        assignments: what the user has set, which stays.

    Raises:
        UserError: nothing is compressed, a compressor cannot go on from a model, or not from this one.
    """
    if config.start is None:
        return config
    rows = config.compressors()
    if not rows:
        raise UserError("--from: nothing is compressed here. Choose a --compressor.")
    plugins = {row: compressor_parts(source.compressor or "") for row, source in rows.items()}
    start, teacher = reference_config(config.start), reference_config(config.teacher or "")
    if start is None:
        raise UserError(_no_model(config.start))
    if teacher is None:
        raise UserError(f"--teacher {config.teacher} has no weights to compress. Name the one that --from was made of.")
    chosen = [key.removeprefix("compressor.") for key in parse_overrides(assignments)]
    models = {
        row: _warm_started(rows[row], plugins[row], start, teacher, [key.removeprefix(f"{row}.") for key in chosen])
        for row in rows
    }
    return config.model_copy(update={"models": {**config.models, **models}})


def load_start(config: RunConfig) -> WarmStart | None:
    """Load the model that compression goes on from, if it does.

    Raises:
        UserError: no such model.
    """
    if config.start is None:
        return None
    model = load_upstream(config.start)
    if not isinstance(model, UpstreamModel):
        raise UserError(_no_model(config.start))
    folder = Path(config.start)
    return WarmStart(model, folder if is_suite_folder(folder) else None)


def _warm_started(
    source: ModelSource,
    parts: dict[str, type[Compressor]],
    start: UpstreamConfig,
    teacher: UpstreamConfig,
    chosen: Sequence[str],
) -> ModelSource:
    """Fit the settings of a stack's first part; the others compress what it makes."""
    settings = by_part(source.compressor or "", source.settings)
    first, plugin = next(iter(parts.items()))
    compressor = plugin(plugin.config_type.model_validate(settings[first]))
    fields = plugin.config_type.model_fields
    # Of the others some are for further parts, or other rows.
    own = {key for name in chosen if (key := name.removeprefix(f"{first}.")).partition(".")[0] in fields}
    values = compressor.warm_started(start, teacher, own).model_dump(mode="json")
    validated(plugin.config_type, values, f"compressor {first}, going on from --from")
    return source.model_copy(update={"settings": joined({**settings, first: values})})


def _no_model(reference: str) -> str:
    return f"--from {reference} has no weights to go on from. Choose a compressed model."
