"""``bench convert``: any model reference to a suite folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Model reference; see `bench list teachers`.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write; must not exist.")],
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Convert a model to a suite folder (config.json and model.safetensors).

    A checkpoint with gates, DPHuBERT's stage 1, is pruned by them.
    """
    from bench.errors import UserError
    from bench.provenance import now, versions
    from bench.upstream import UpstreamModel, load_upstream
    from bench.upstream.checkpoint import save_upstream

    if destination.exists():
        raise UserError(f"{destination} exists. Choose another folder, or delete it.")
    upstream = load_upstream(source)
    if not isinstance(upstream, UpstreamModel):
        raise UserError(f"{source} has no weights to convert.")
    save_upstream(upstream, destination, {"converted_from": source, "versions": versions(), "finished": now()})
    typer.echo(str(destination))
    return 0
