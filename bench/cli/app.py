"""The ``bench`` application: its own verbs, and those of plug-in packages."""

from __future__ import annotations

import typer

from bench import registry
from bench.cli import (
    compare,
    compress,
    convert,
    doctor,
    evaluate,
    features,
    listing,
    plot,
    profile,
    report,
    run,
    sweep,
)

HELP = """Compress self-supervised speech models and measure what it costs on SUPERB.

The main job: bench run --compressor dphubert --tasks asr,ks"""


def application() -> typer.Typer:
    """Assemble all verbs; none of them has imported torch yet."""
    app = typer.Typer(
        help=HELP,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.command()(run.run)
    app.command()(compress.compress)
    app.command()(sweep.sweep)
    app.command()(evaluate.evaluate)
    app.command()(report.report)
    app.command()(plot.plot)
    app.command()(compare.compare)
    app.command()(profile.profile)
    app.command()(features.features)
    app.command()(convert.convert)
    app.command("list")(listing.list_)
    app.command()(doctor.doctor)
    for name in registry.names("bench.commands"):
        app.add_typer(registry.load("bench.commands", name), name=name)
    return app
