"""``bench pretrain``: train an upstream by HuBERT's recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from bench.contracts.bounds import LARGEST_NUMBER_OF_DEVICES

# Plug-in commands are groups. This group has a callback and no commands.
pretrain = typer.Typer(subcommand_metavar="", help="Train an upstream by HuBERT's recipe.")


@pretrain.callback(invoke_without_command=True)
def pretrain_model(
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    preset: Annotated[
        str, typer.Option(help="mini (CPU, about an hour), base (HuBERT Base's recipe) or smoke (seconds).")
    ] = "mini",
    data: Annotated[str, typer.Option("--data", help="'mini' (embedded corpora) or a YAML file about yours.")] = "mini",
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer evaluates annotations at run time on Python 3.10 too
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. shape.dim=192; data.* for the data."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights, masks, clusters and batches.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[
        int,
        typer.Option(
            min=1,
            max=LARGEST_NUMBER_OF_DEVICES,
            help="Processes that share the accumulate_batches of each update, one per GPU.",
        ),
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and libraries' warnings.")] = False,  # noqa: ARG001 - read before parsing
) -> None:
    """Train an upstream by HuBERT's recipe: units by k-means, masked prediction, and again with better units.

    If interrupted, run the same command again to resume.
    """
    from bench.terminal.choices import one_of
    from bench.terminal.device import resolve_device
    from bench.terminal.printing import print_json, print_rows
    from bench.workers.launched import leading
    from compressors.pretraining.folder import pretrain_into

    chosen_device = resolve_device(one_of(device, ("auto", "cpu", "cuda"), "--device"))
    with leading(devices, chosen_device) as leads:
        if leads:
            figures = pretrain_into(out, preset, data, set_ or [], seed=seed, device=chosen_device, devices=devices)
            shown = [_rounded(row) for row in figures]
            print_json(figures) if json else print_rows(shown, title=f"{out}: held-out speech")


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
