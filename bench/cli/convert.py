"""``bench convert``: convert any model reference to a suite folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.terminal.streams import print_line


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Model reference; see `bench list teachers`.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write; must not exist.")],
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Convert a model to a suite folder (config.json and model.safetensors).

    A checkpoint with gates (DPHuBERT's stage 1) is pruned by them.
    """
    from bench.conversion import convert_to_folder

    print_line(convert_to_folder(source, destination))
    return 0
