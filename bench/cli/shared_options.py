"""Options of every command, including those of plug-in packages: ``-q`` and ``-v``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from bench.cli.logs import set_level


def add_shared_options(command: Any) -> None:
    """Add the shared options to a typer command and all its subcommands."""
    app = typer.Typer(add_completion=False)
    app.command()(_shared)
    options = typer.main.get_command(app).params
    for each in _with_subcommands(command):
        each.params.extend(options)


def _with_subcommands(command: Any) -> Iterator[Any]:
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from _with_subcommands(below)


def _be_quiet(value: bool) -> None:
    if value:
        set_level(logging.WARNING)


def _be_verbose(value: bool) -> None:
    if value:
        set_level(logging.DEBUG)


def _shared(
    *,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", callback=_be_quiet, expose_value=False, help="Show results, warnings and errors only."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", callback=_be_verbose, expose_value=False, help="Log details, too.")
    ] = False,
) -> None:
    """Declare the shared options."""
