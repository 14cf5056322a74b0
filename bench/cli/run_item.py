"""``bench run-item``: one item of a run, for schedulers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options


def run_item(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    item: Annotated[
        str, typer.Argument(help="One item, as `bench status` shows it: 'compress dphubert' or 'dphubert ks seed 0'.")
    ],
    cache_limit: options.CacheLimit = None,
    device: options.Device = "auto",
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Do one item of a run from the run's own config.yaml; `bench run --executor commands` prints these commands.

    An item that is done already is not repeated. The exit code is 1 if the item fails or needs one that is not done.
    """
    from bench.runs.single import devices_of, run_item
    from bench.sizes import parse_size
    from bench.terminal.choices import one_of
    from bench.terminal.device import resolve_device
    from bench.terminal.streams import say
    from bench.workers.launched import leading

    cache_limit_bytes = None if cache_limit is None else parse_size(cache_limit, "--cache-limit")
    chosen_device = resolve_device(one_of(device, ("auto", "cpu", "cuda"), "--device"))
    with leading(devices_of(folder, item), chosen_device) as leads:
        if not leads:
            return 0
        state = run_item(folder, item, chosen_device, cache_limit_bytes)
    if state.kind == "blocked":
        say(f"error: {item} {state.reason}. Do that item first.")
    return 0 if state.kind == "done" else 1
