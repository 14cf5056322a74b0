"""``bench export``: write a model for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from bench.cli import options
from bench.terminal.streams import print_line


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model reference; see `bench list teachers`.")],
    to: Annotated[str, typer.Option(metavar="TARGET", help="hf, onnx, dphubert or s3prl.")],
    out: Annotated[Path, typer.Option(metavar="DST", help="File (onnx, dphubert) or folder (hf, s3prl); must be new.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="With --to onnx: int8 weights in linear layers, one scale per output.")
    ] = False,
    opset: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="With --to onnx: version of ONNX's operators, 18 to 22 [default: 18]."),
    ] = None,
    push: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="OWNER/NAME", help="Upload the result to this repository on Hugging Face's hub."),
    ] = None,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Write a model for transformers, ONNX runtimes, DPHuBERT's code or s3prl."""
    from bench.exports.targets import find_target

    # Before torch is imported.
    find_target(to).require_packages()

    from bench.exports.export import export_model
    from bench.exports.options import ExportOptions

    print_line(export_model(model, to, out, ExportOptions(int8, opset, push)))
    return 0
