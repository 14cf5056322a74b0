"""``bench report``: tables of runs, for reading and for papers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from bench.cli import options
from bench.cli.output import print_groups
from bench.terminal.streams import print_line

RUNS = Path("results") / "runs"
FORMATS = ("csv", "md", "latex", "html")


def report(
    folders: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="[DIR..]", help="Runs, or folders of runs [default: the newest run in results/runs]."),
    ] = None,
    format_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--format", help=f"Write files: {', '.join(FORMATS)} (comma-separated) [default: only show]."),
    ] = None,
    with_published: Annotated[
        bool, typer.Option("--with-published", help="Add published results on SUPERB; without any run, alone.")
    ] = False,
    verify: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="CSV", help="Say whether this leaderboard.csv or report.csv agrees with the records."),
    ] = None,
    tasks: options.ShownTasks = None,
    columns: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAMES", help="Columns to show, by their names in the CSV (comma-separated)."),
    ] = None,
    rename: options.Rename = None,
    against: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="ROW|teacher", help="Star the scores that differ from this row's, as bench compare does."),
    ] = None,
    caption: Annotated[str, typer.Option(help="Caption of the LaTeX table.")] = "",
    label: Annotated[str, typer.Option(help="Label of the LaTeX table, such as tab:scores.")] = "",
    fragment: Annotated[bool, typer.Option("--fragment", help="In LaTeX, write the tabular alone.")] = False,
    split: options.Split = "test",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Folder of the files [default: report in the first DIR]."),
    ] = None,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Rebuild leaderboards from records, in groups of rows that may be ranked together."""
    from bench import registry
    from bench.comparison.rows import runs_in
    from bench.errors import UserError
    from bench.leaderboard.comparable import read_boards
    from bench.reports.tables.latex import Layout
    from bench.reports.tables.leaderboards import report_groups
    from bench.reports.tables.selection import with_columns, with_names
    from bench.reports.tables.significance import with_stars
    from bench.terminal.choices import comma_separated, one_of

    split = one_of(split, ("test", "dev"), "--split")
    formats = () if format_ is None else comma_separated(format_, "--format", FORMATS)
    for name in formats:
        one_of(name, FORMATS, "--format")
    layout = Layout(caption, label, fragment)
    if layout != Layout() and "latex" not in formats:
        raise UserError("--caption, --label and --fragment are about LaTeX. Add --format latex, or leave them out.")
    if verify is not None:
        if tasks is not None:
            raise UserError("--verify: a CSV has all tasks of its runs. Leave --tasks out.")
        return _verify(verify, runs_in(folders or _run_of(verify)), split)
    named = folders or _newest(may_be_none=with_published)
    chosen = () if tasks is None else comma_separated(tasks, "--tasks", registry.names("bench.tasks"))
    boards = read_boards(runs_in(named), split, chosen)
    groups = report_groups(boards, with_published=with_published)
    if against is not None:
        groups = with_stars(groups, boards, against)
    if columns is not None:
        groups = with_columns(groups, comma_separated(columns, "--columns", sorted(map(str, groups[0].table))))
    groups = [with_names(group, options.renaming(rename)) for group in groups]
    if not formats:
        print_groups(groups)
        return 0
    from bench.reports.tables.formats import write_report

    folder = out or (named[0] / "report" if named else Path("report"))
    given = {"--format": format_, "--split": None if split == "test" else split, "--tasks": tasks, "--columns": columns}
    command = _command(named, given | {"--against": against}, rename or (), with_published=with_published)
    for path in write_report(groups, boards, formats, folder, split, command, layout):
        print_line(path)
    return 0


def _command(
    folders: list[Path], options: Mapping[str, str | None], renamed: Sequence[str], *, with_published: bool
) -> str:
    """Write the command as a reader could type it; the page must not reveal where the runs are stored."""
    given = [part for name, value in options.items() if value for part in (name, value)]
    given += [part for one in renamed for part in ("--rename", one)]
    flags = ["--with-published"] if with_published else []
    return shlex.join(["bench", "report", *(folder.resolve().name for folder in folders), *given, *flags])


def _verify(csv: Path, runs: list[Path], split: str) -> int:
    """Print every difference to standard output. Returns exit code 1 if there is one."""
    from bench.reports.tables.verification import differences, read_csv_cells

    given = read_csv_cells(csv)
    found = differences(given, _rebuilt(list(given.columns), list(given.get("preset", [])), runs, split))
    for line in found:
        print_line(line)
    names = ", ".join(str(run) for run in runs)
    print_line(f"{csv} {'differs from' if found else 'agrees with'} the records of {names}: {len(given)} rows compared")
    return 1 if found else 0


def _rebuilt(columns: list[str], presets: list[str], runs: list[Path], split: str) -> str:
    """Write the CSV again: a report's, which has a column ``source``, or the leaderboard of one run."""
    from bench.errors import UserError
    from bench.files.csv_text import csv_text
    from bench.leaderboard.comparable import read_boards
    from bench.leaderboard.published import PUBLISHED
    from bench.reports.tables.formats import report_csv
    from bench.reports.tables.leaderboards import report_groups

    if "source" in columns:
        return report_csv(report_groups(read_boards(runs, split), with_published=PUBLISHED in presets))
    if len(runs) > 1:
        raise UserError("--verify: a leaderboard.csv is about one run. Name one DIR.")
    return csv_text(read_boards(runs, split)[0].table)


def _run_of(csv: Path) -> list[Path]:
    """Find the run whose folder contains a CSV, or else the newest run."""
    above = [csv.resolve().parent, csv.resolve().parent.parent]
    return [folder for folder in above if (folder / "config.yaml").is_file()][:1] or _newest(may_be_none=False)


def _newest(*, may_be_none: bool) -> list[Path]:
    from bench.comparison.rows import newest_run

    return [] if may_be_none and not any(RUNS.glob("*/leaderboard.csv")) else [newest_run(RUNS)]
