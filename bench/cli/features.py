"""``bench features``: hidden states of audio files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.terminal.streams import print_line


def features(
    reference: Annotated[str, typer.Argument(help="Model reference; see `bench list teachers`.")],
    audio: Annotated[list[Path], typer.Argument(help="Audio files, 16 kHz.")],
    out: Annotated[Path, typer.Option(help="NumPy file to write: arrays <stem>/<k>, hidden state k (frames, dim).")],
    resample: Annotated[bool, typer.Option("--resample", help="Resample files of another rate to 16 kHz.")] = False,
    device: options.Device = "auto",
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Write SUPERB's hidden states of each file, computed one file at a time."""
    from bench.extraction import extract
    from bench.terminal.choices import one_of
    from bench.terminal.device import resolve_device

    chosen_device = resolve_device(one_of(device, ("auto", "cpu", "cuda"), "--device"))
    path = extract(reference, audio, out, resample=resample, device=chosen_device)
    print_line(path)
    return 0
