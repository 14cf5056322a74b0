"""``bench data``: makes the embedded corpora, and checks users' own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bench.errors import UserError
from bench.terminal import options

if TYPE_CHECKING:
    from bench.contracts import Data
    from tasks.mini.corpora import MiniCorpora

data = typer.Typer(no_args_is_help=True, help="Make speech corpora, and check them.")


@data.callback()
def _verbs() -> None:
    """Make speech corpora, and check them."""


@data.command()
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write them to.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other speakers, sentences and noise.")] = 0,
    unlabelled: Annotated[
        bool,
        typer.Option(
            "--unlabelled", help="Make unlabelled speech for compression or pretraining instead of the tasks."
        ),
    ] = False,
    hours: Annotated[
        float | None, typer.Option(min=0.01, max=1000, help="Hours of unlabelled speech [default: 3].")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Unlabelled speech without noise and rooms, for recipes that add their own.")
    ] = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> None:
    """Synthesise the embedded mini corpora, or unlabelled speech, into DIR, with a data.yaml for --data.

    The same command resumes after an interruption.
    """
    from tasks.mini.corpora import MiniCorpora

    if hours is not None and not unlabelled:
        raise UserError("--hours applies to unlabelled speech only. Add --unlabelled, or leave --hours out.")
    if clean and not unlabelled:
        raise UserError("--clean applies to unlabelled speech only. Add --unlabelled, or leave --clean out.")
    corpora = MiniCorpora(folder, seed=seed)
    if unlabelled:
        corpora.prepare_unlabelled(3.0 if hours is None else hours, clean=clean)
    else:
        corpora.prepare()
    data_file = corpora.folder / "data.yaml"
    _write_data_file(corpora.there(), data_file)
    _print_sizes(corpora, data_file)


@data.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE.yaml", help="The data file, as for --data.")],
    tasks: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Tasks, comma-separated [default: all in the file, and the audio for compression]."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Decode every file instead of reading headers only.")] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Show the size of every corpus next to the real one's, what is missing, and what looks wrong.

    The exit code is 1 if a run would refuse a corpus.
    """
    from rich.console import Console
    from rich.progress import Progress

    from bench import registry
    from bench.terminal.choices import ALL_TASKS, comma_separated
    from bench.terminal.printing import print_json
    from tasks.data_check.checking import check_data
    from tasks.data_check.output import json_report, print_reports

    names = None
    if tasks is not None and tasks.lower() != ALL_TASKS:
        names = comma_separated(tasks, "--tasks", registry.names("bench.tasks"))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        reports = check_data(file, names, full=full, progress=progress)
    if json:
        print_json(json_report(file, reports))
    else:
        print_reports(file, reports)
    return 0 if all(report.usable for report in reports) else 1


def _write_data_file(made: Data, data_file: Path) -> None:
    """Write the data file, with paths relative to it so that the folder can be moved."""
    from bench.files.yaml import dump_yaml

    def relative(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: relative(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return [relative(item) for item in value]
        return value.relative_to(data_file.parent).as_posix() if isinstance(value, Path) else value

    content = relative(made.model_dump(exclude_defaults=True, exclude={"embedded"}))
    data_file.write_text(
        "# superb-bench's embedded corpora: synthetic speech\n" + dump_yaml(content),
        encoding="utf-8",
    )


def _print_sizes(corpora: MiniCorpora, data_file: Path) -> None:
    from bench.terminal.printing import print_rows
    from bench.terminal.streams import print_line

    table = []
    for name, manifest in corpora.manifests().items():
        for split in dict.fromkeys(row["split"] for row in manifest):
            rows = [row for row in manifest if row["split"] == split]
            speakers = {row["speaker"] for row in rows} - {""}
            hours = sum(float(row["duration_s"]) for row in rows) / 3600
            table.append(
                {
                    "corpus": name,
                    "split": split,
                    "utterances": len(rows),
                    "speakers": len(speakers),
                    "hours": f"{hours:.2f}",
                    "folder": corpora.folder / name,
                }
            )
    print_rows(table, f"Embedded corpora {corpora.identity}")
    print_line(f"Use them with --data {data_file}")
