"""The ``bench`` application: its own verbs, and those of plug-in packages."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import bench
from bench import registry
from bench.cli import (
    compare,
    compress,
    convert,
    doctor,
    evaluate,
    export,
    features,
    listing,
    plot,
    profile,
    report,
    run,
    run_item,
    status,
    submit,
    sweep,
    work,
)
from bench.cli.shared_options import add_shared_options
from bench.terminal.streams import print_line

HELP = """Compress self-supervised speech models and measure what it costs on SUPERB.

The main job: bench run --compressor dphubert --tasks asr,ks"""


def command() -> Any:
    """Return the program as typer runs it: all verbs, with their shared options."""
    root = typer.main.get_command(application())
    add_shared_options(root)
    return root


def application() -> typer.Typer:
    """Assemble all verbs. None of them has imported torch yet."""
    app = typer.Typer(
        help=HELP,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    app.command()(run.run)
    app.command()(compress.compress)
    app.command()(sweep.sweep)
    app.command()(evaluate.evaluate)
    app.command()(status.status)
    app.command()(submit.submit)
    app.command("run-item")(run_item.run_item)
    app.command(hidden=True)(work.work)
    app.command()(report.report)
    app.command()(plot.plot)
    app.command()(compare.compare)
    app.command()(profile.profile)
    app.command()(features.features)
    app.command()(convert.convert)
    app.command()(export.export)
    app.command("list")(listing.list_)
    app.command()(doctor.doctor)
    for name in registry.names("bench.commands"):
        app.add_typer(registry.load("bench.commands", name), name=name)
    return app


def _show_version(value: bool) -> None:
    if value:
        print_line(f"superb-bench {bench.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, expose_value=False, help="Show the version."),
    ] = False,
) -> None:
    pass
