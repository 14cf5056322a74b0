"""``bench compress``: make a smaller model, without evaluating it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options


def compress(
    compressor: Annotated[
        str, typer.Option(help="Compressor, or a stack such as dphubert+int8; see `bench list compressors`.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    teacher: options.Teacher = options.DEFAULT_TEACHER,
    data: options.DataChoice = "mini",
    preset: options.PresetName = "mini",
    from_: options.From = None,
    set_: options.Sets = None,
    device: options.Device = "auto",
    devices: options.Devices = 1,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Compress a teacher into a model folder that every command takes as a reference.

    After an interruption, the same command resumes.
    """
    from bench.cli.choices import resolved_run
    from bench.cli.output import model_rows
    from bench.config.row_names import NO_COMPRESSOR
    from bench.errors import UserError
    from bench.runs.checks import require_use_of_devices
    from bench.runs.compress import compress_into
    from bench.terminal.choices import comma_separated, one_of
    from bench.terminal.device import resolve_device
    from bench.terminal.printing import print_json, print_rows
    from bench.workers.launched import leading

    if len(comma_separated(compressor, "--compressor")) > 1 or compressor.lower() == NO_COMPRESSOR:
        raise UserError(f"--compressor {compressor}: `bench compress` takes exactly one. Use `bench run` for several.")
    config = resolved_run(
        compressors=compressor,
        teacher=teacher,
        start=from_,
        tasks=None,
        data=data,
        preset=preset,
        seeds="0",
        devices=devices,
        assignments=set_ or [],
    )
    chosen_device = resolve_device(one_of(device, ("auto", "cpu", "cuda"), "--device"))
    require_use_of_devices(config)
    (row,) = config.compressors()
    with leading(config.devices, chosen_device) as leads:
        if leads:
            rows = compress_into(config, row, out, chosen_device)
            print_json(rows) if json else print_rows(model_rows(rows))
    return 0
