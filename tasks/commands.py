"""``bench data``: the embedded corpora."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bench.contracts import Data
    from tasks.mini.corpora import MiniCorpora

data = typer.Typer(no_args_is_help=True, help="Make speech corpora.")


@data.callback()
def _verbs() -> None:
    """Make speech corpora."""


@data.command()
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put them.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed: other speakers, sentences and noise.")] = 0,
) -> None:
    """Synthesise the embedded mini corpora into DIR, with a data.yaml for --data."""
    from tasks.mini.corpora import MiniCorpora

    corpora = MiniCorpora(folder, seed=seed)
    made = corpora.prepare()
    data_file = corpora.folder / "data.yaml"
    _write_data_file(made, data_file)
    _print_sizes(corpora, made, data_file)


def _write_data_file(made: Data, data_file: Path) -> None:
    import yaml

    def relative(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: relative(item) for key, item in value.items()}
        return value.relative_to(data_file.parent).as_posix() if isinstance(value, Path) else value

    assert made.audio is not None
    audio = made.audio.model_dump(exclude_defaults=True)
    content = {"audio": {**relative(audio), "splits": list(made.audio.splits)}, "tasks": relative(made.tasks)}
    data_file.write_text(
        f"# superb-bench's embedded corpora, version {made.version}\n" + yaml.safe_dump(content, sort_keys=False),
        encoding="utf-8",
    )


def _print_sizes(corpora: MiniCorpora, made: Data, data_file: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Embedded corpora {made.version}")
    for column in ("corpus", "split"):
        table.add_column(column)
    for column in ("utterances", "speakers", "hours"):
        table.add_column(column, justify="right")
    table.add_column("folder", overflow="fold")
    for name, manifest in corpora.manifests().items():
        for split in ("train", "dev", "test"):
            rows = [row for row in manifest if row["split"] == split]
            speakers = {row["speaker"] for row in rows} - {""}
            hours = sum(float(row["duration_s"]) for row in rows) / 3600
            table.add_row(name, split, str(len(rows)), str(len(speakers)), f"{hours:.2f}", str(corpora.folder / name))
    console = Console()
    console.print(table)
    console.print(f"Use them with --data {data_file}", soft_wrap=True, highlight=False)
