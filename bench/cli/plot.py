"""``bench plot``: figures of runs, for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from bench.cli import options
from bench.terminal.streams import print_line

ALL = "all"
KINDS = ("pareto", "bars", "architecture", "training", "layer-weights", "hours")
FONTS = ("sans", "times")
WIDTHS = ("column", "page", "ieee-column", "ieee-page", "acl-column", "acl-page")


def plot(
    folders: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(
            metavar="[DIR..]", help="Folders of runs, or of models [default: the newest run in results/runs]."
        ),
    ] = None,
    kind: Annotated[str, typer.Option(help=f"What to draw: {', '.join(KINDS)} (comma-separated), or all.")] = ALL,
    width: Annotated[str, typer.Option(help=f"Width of a column or a page: {', '.join(WIDTHS)}.")] = "column",
    with_published: Annotated[
        bool,
        typer.Option("--with-published", help="Also published models on SUPERB; without any DIR, these alone."),
    ] = False,
    label: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="ROW", help="Label this row in Pareto figures, also a published one (repeatable)."),
    ] = None,
    rename: options.Rename = None,
    title: Annotated[str, typer.Option(help="Text above every figure.")] = "",
    font: Annotated[str, typer.Option(help=f"Font of the document: {', '.join(FONTS)}.")] = "sans",
    footer: Annotated[
        bool, typer.Option("--footer/--no-footer", help="Say below figures where scores come from.")
    ] = True,
    tasks: options.ShownTasks = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Folder to write to [default: plots in the first DIR]."),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Draw figures as PDF and PNG, each with a CSV of its data."""
    from bench import registry
    from bench.terminal.choices import comma_separated, one_of, spelled
    from bench.terminal.printing import print_json

    width = one_of(width, WIDTHS, "--width")
    font = one_of(font, FONTS, "--font")
    kind = spelled(kind, [ALL])
    kinds = KINDS if kind == ALL else comma_separated(kind, "--kind", KINDS)
    for name in kinds:
        one_of(name, (*KINDS, ALL), "--kind")
    from bench.comparison.rows import newest_run, runs_in
    from bench.reports.plots.canvas import WIDTHS_IN, Options
    from bench.reports.plots.kinds import draw_plots

    results = Path("results")
    if not folders:
        kinds = () if with_published else kinds
        folders = [] if with_published else [newest_run(results / "runs")]
    out = out or (folders[0] if folders else results) / "plots"
    written = draw_plots(
        runs_in(folders),
        kinds,
        out,
        Options(WIDTHS_IN[width], title, footer, frozenset(label or ()), font),
        skip_absent=kind == ALL,
        with_published=with_published,
        tasks=() if tasks is None else comma_separated(tasks, "--tasks", registry.names("bench.tasks")),
        names=options.renaming(rename),
    )
    if json:
        print_json([{suffix: str(path) for suffix, path in paths.items()} for paths in written])
        return 0
    for paths in written:
        print_line(" ".join(str(path) for path in paths.values()))
    return 0
