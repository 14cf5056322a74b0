"""Loads the model of a warm start, ``--from``."""

from __future__ import annotations

from pathlib import Path

from bench.config.run import RunConfig
from bench.contracts import WarmStart
from bench.errors import UserError
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.checkpoint import is_suite_folder


def load_start(config: RunConfig) -> WarmStart | None:
    """Load the model of the warm start, if there is one.

    Raises:
        UserError: no such model.
    """
    if config.start is None:
        return None
    model = load_upstream(config.start)
    if not isinstance(model, UpstreamModel):
        raise UserError(f"--from {config.start} has no weights to start from. Choose a compressed model.")
    folder = Path(config.start)
    return WarmStart(model, folder if is_suite_folder(folder) else None)
