"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from bench.contracts.bounds import LARGEST_NUMBER_OF_DEVICES
from bench.errors import UserError
from bench.terminal import options as shared_with_plugins
from bench.text import shortened

# Optional[...] because typer evaluates annotations at run time on Python 3.10 too.
Tasks = Annotated[str, typer.Option(help="Tasks, comma-separated, or 'all' of the data; see `bench list tasks`.")]
TasksOrConfig = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--tasks",
        help="Tasks, comma-separated, or 'all' of the data; see `bench list tasks`; needed without --config.",
    ),
]
ShownTasks = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--tasks", help="Tasks to show and to score over, comma-separated [default: all that the runs have]."),
]
Rename = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="OLD=NEW", help="Another name for a method, a row or a column (repeatable)."),
]
Teacher = Annotated[str, typer.Option(help="Model reference of the teacher; see `bench list teachers`.")]
From = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--from",
        metavar="REF",
        help="Warm start: train this compressed model further, in a tenth of the updates. It keeps its shape unless "
        "--set sparsity asks for a smaller one.",
    ),
]
Baseline = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="REF",
        help="Baselines to evaluate too, model references, comma-separated; fbank gives every row its relative_score.",
    ),
]
DataChoice = Annotated[str, typer.Option("--data", help="'mini' (embedded corpora) or a YAML file about yours.")]
PresetName = Annotated[str, typer.Option("--preset", help="smoke (seconds), mini (CPU, minutes) or paper.")]
Seeds = Annotated[str, typer.Option(help="Seeds of the downstream heads, comma-separated.")]
Out = Annotated[Optional[Path], typer.Option(help="The run's folder [default: results/runs/<name>].")]  # noqa: UP045
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting: data.*, compressor.*, <compressor's name>.*, tasks.<name>.* or a bare key.",
    ),
]
Protocol = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="cached (features computed once per utterance) or s3prl (computed at every step) "
        "[default: cached; s3prl with --preset paper]."
    ),
]
CacheLimit = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="SIZE", help="The most that cached features may hold, e.g. 50GB [default: the disk's]."),
]
LearningRate = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--lr",
        metavar="RATE|auto",
        help="Learning rate of all downstream heads; auto searches a grid on dev, once per model and task "
        "[default: the preset's].",
    ),
]
Folds = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Folds of tasks that have several, comma-separated [default: the preset's]."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Devices = Annotated[
    int,
    typer.Option(
        min=1,
        max=LARGEST_NUMBER_OF_DEVICES,
        help="Processes, one per GPU, that share the accumulate_batches of each update of a compression.",
    ),
]
Split = Annotated[str, typer.Option(help="Whose scores the leaderboard shows: test or dev.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check the corpora, show the plan with estimates of work and disk space, and stop."),
]
Executor = Annotated[
    str,
    typer.Option(
        metavar="inline|processes:N|slurm|commands",
        help="Where items are done: in this process, in N processes (one per GPU on cuda), as Slurm jobs; 'commands' "
        "prints one command per item for another scheduler.",
    ),
]
Slurm = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="KEY=VALUE,..",
        help="What --executor slurm asks for each job, such as partition=gpu,gpus_per_node=1,time=08:00:00,account=lab,"
        "array_parallelism=8; all keys are in docs/cluster.md.",
    ),
]
AsJson = shared_with_plugins.AsJson
Debug = shared_with_plugins.Debug

DEFAULT_TEACHER = "mini-hubert"


def renaming(given: Sequence[str] | None) -> dict[str, str]:
    """Read ``--rename``: old names to new ones.

    Raises:
        UserError: one is not OLD=NEW.
    """
    pairs = [(old, sign, new, text) for text in given or () for old, sign, new in [text.partition("=")]]
    for old, sign, new, text in pairs:
        if not (old and sign and new):
            raise UserError(f"--rename: expected OLD=NEW. Found {shortened(repr(text), 60)}.")
    return {old: new for old, _, new, _ in pairs}
