"""Can the tasks tell bad compression from good? Compare a teacher with students that are worse in known ways.

Usage: ``python -m benchmarks.discrimination --out DIR``. DIR/run is a run's folder: the same command resumes, and
``bench report`` and ``bench compare --run`` read it. The tables go to DIR/discrimination.csv and the terminal;
docs/embedded.md shows them. DIR/tasks.csv replaces ``bench/leaderboard/discrimination.csv``, from which reports take
the footnote about tasks that do not separate.

A goal is met if the student is worse than the model above it by more than the given number of standard errors, which
cover other compressions, other seeds of the heads and other test utterances (`bench.comparison`). Students made without
training (pruned without recovery, random or missing layers) have one compression; only their heads differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console

import bench
from bench import registry
from bench.leaderboard.discrimination import COLUMNS
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import is_suite_folder, save_upstream
from bench.upstream.random_shapes import random_model
from compressors.size.budget import budget_for
from compressors.size.pruning import largest_sparsity
from compressors.students.shapes import shallow_shape, shallow_student

SPARSITIES = (0.5, 0.75, 0.9)
MAGNITUDE = {"importance": "l2", "pruning_steps": 1}
"""All units of a size are removed at once, the smallest weights first."""
CHANNEL_SHARE = 0.8
"""Share of the MACs removed that pruning convolutional channels can remove at most."""
RANDOM, SHALLOW = "random-transformer", "quarter-of-layers"
PRUNED, RECOVERED, CHANNELS = "pruned", "recovered", "channels"
WORST = f"{PRUNED}-{SPARSITIES[-1]}"
RECOVERY_TASKS = ("asr", "pr", "sf", "ks")


def main(
    out: Annotated[Path, typer.Option(help="Folder of the run and of the tables.")],
    teacher: Annotated[str, typer.Option(help="A model reference.")] = "mini-hubert",
    tasks: Annotated[str, typer.Option(help="Separated by commas, or all.")] = "all",
    compressions: Annotated[int, typer.Option(help="Of each student; each has its own seed of the heads.", min=1)] = 3,
    preset: Annotated[str, typer.Option(help="Of compressors and tasks.")] = "mini",
    data: Annotated[str, typer.Option(help="Embedded corpora, or a YAML file.")] = "mini",
    executor: Annotated[str, typer.Option(help="inline, or processes:N.")] = "inline",
) -> None:
    """Make the students, score them and the teacher, and print which tasks separate them."""
    chosen = tasks if tasks == "all" else tasks.split(",")
    options = {"preset": preset, "data": data, "executor": executor, "seeds": tuple(range(compressions))}
    results = measured(teacher, chosen, out / "run", saved_students(teacher, out / "students"), **options)
    row = str(results.table.loc[results.table["compressor"] == "none", "model"].iloc[0])
    found = separations(results, row)
    goals = judged(found)
    found.to_csv(out / "discrimination.csv", index=False)
    task_verdicts(found, str(results.table["data"].iloc[0]), row).to_csv(out / "tasks.csv", index=False)
    console = Console(width=200)
    for table in (wide(found, row), goals):
        console.print(markdown(table))
        console.print()


def measured(
    teacher: str, tasks: Sequence[str] | str, out: Path, baselines: Sequence[Path], **options: Any
) -> bench.Results:
    """Make all models and score them in one run's folder, or complete what is missing."""
    # The first call fixes the teacher's row as the first one.
    bench.run(
        {PRUNED: "prune-only", RECOVERED: "prune-only"},
        tasks,
        teacher=teacher,
        baselines=baselines,
        sparsities=SPARSITIES,
        training_budget="preset",
        out=out,
        settings={**of_rows((PRUNED, RECOVERED), MAGNITUDE), f"{PRUNED}.recovery": None},
        **options,
    )
    only_channels = {**MAGNITUDE, "units": ["conv"], "recovery": None, "target": "macs"}
    sparsity = channel_sparsity(teacher, only_channels)
    return bench.run(
        {CHANNELS: "prune-only"},
        tasks,
        teacher=teacher,
        sparsities=(sparsity,),
        training_budget="preset",
        out=out,
        settings=of_rows((CHANNELS,), only_channels),
        **options,
    )


def channel_sparsity(teacher: str, only_channels: Mapping[str, Any]) -> float:
    """Return the share of the teacher's MACs to remove from its convolutional channels."""
    shape = loaded(teacher).config
    preset = registry.load("bench.compressors", "prune-only").presets["mini"]
    config = type(preset).model_validate({**preset.model_dump(), **only_channels})
    return round(CHANNEL_SHARE * largest_sparsity(shape, budget_for(config, shape), config), 3)


def of_rows(rows: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Address settings to rows."""
    return {f"{row}.{key}": value for row in rows for key, value in settings.items()}


def saved_students(teacher: str, folder: Path) -> list[Path]:
    """Save the students that no compressor makes, unless they exist: random layers, and too few layers."""
    made = {RANDOM: with_random_transformer, SHALLOW: with_a_quarter_of_the_layers}
    for name, make in made.items():
        if not is_suite_folder(folder / name):
            save_upstream(
                make(loaded(teacher)), folder / name, {"teacher": teacher, "made_by": "benchmarks/discrimination.py"}
            )
    return [folder / name for name in made]


def loaded(teacher: str) -> UpstreamModel:
    """Load a teacher that can be pruned."""
    model = bench.load_upstream(teacher)
    if not isinstance(model, UpstreamModel):
        raise bench.UserError(f"Expected a teacher with layers to prune. Found {teacher}. Choose another.")
    return model


def with_random_transformer(teacher: UpstreamModel) -> UpstreamModel:
    """Return the teacher with a random transformer on its trained convolutions."""
    student = random_model(teacher.config)
    kept = {key: value for key, value in teacher.state_dict().items() if key.startswith("feature_")}
    student.load_state_dict({**student.state_dict(), **kept})
    return student


def with_a_quarter_of_the_layers(teacher: UpstreamModel) -> UpstreamModel:
    """Return the first quarter of the teacher's layers."""
    shape = shallow_shape(teacher.config, max(1, teacher.config.num_layers // 4))
    return shallow_student(teacher, shape, teacher.config.dropout).eval()


def separations(results: bench.Results, teacher: str) -> pd.DataFrame:
    """Measure by how many standard errors every student is worse than the teacher, and than itself with recovery.

    Returns:
        One row per task and pair: ``task``, ``metric``, ``better`` and ``worse`` (the expected order), their scores,
        the ``gap`` in percent points, its ``standard_error``, and ``standard_errors``, their ratio. A negative gap
        means that the expected order is wrong.
    """
    students = [str(model) for model in results.table["model"] if model != teacher]
    pairs = [(teacher, student) for student in students if not student.startswith("fbank")]
    pairs += [(f"{RECOVERED}-{sparsity}", f"{PRUNED}-{sparsity}") for sparsity in SPARSITIES]
    return pd.DataFrame([row for better, worse in pairs for row in separation(results, better, worse)])


def separation(results: bench.Results, better: str, worse: str) -> Iterator[dict[str, Any]]:
    """Compare a pair of models by the first metric of every task."""
    for row in bench.compare(results, better, worse).to_dict("records"):
        metric = registry.load("bench.tasks", row["task"]).metrics[0]
        if row["metric"] == metric.name:
            gap = row["difference"] * (-100 if metric.higher_is_better else 100)
            error = 100 * row["standard_error"]
            yield {
                "task": row["task"],
                "metric": metric.name,
                "better": better,
                "worse": worse,
                "better_score": 100 * row["a_score"],
                "worse_score": 100 * row["b_score"],
                "gap": gap,
                "standard_error": error,
                "standard_errors": gap / error if error else float("inf") * (gap > 0),
            }


def judged(found: pd.DataFrame) -> pd.DataFrame:
    """List the goals: one row per task and goal, with what was reached."""
    return pd.DataFrame(
        {
            "task": row.task,
            "goal": f"{row.better} above {row.worse} by > {needed} standard errors",
            "standard_errors": row.standard_errors,
            "met": "yes" if row.standard_errors > needed else "NO",
        }
        for row in found.itertuples()
        if (needed := goal_of(str(row.task), str(row.better), str(row.worse))) is not None
    )


def goal_of(task: str, better: str, worse: str) -> float | None:
    """Return how many standard errors must separate a pair of models on a task; None if there is no goal."""
    if worse == WORST and not better.startswith(RECOVERED):
        return 5.0
    is_recovery = (better, worse) == (f"{RECOVERED}-0.75", f"{PRUNED}-0.75")
    return 2.0 if is_recovery and task in RECOVERY_TASKS else None


def task_verdicts(found: pd.DataFrame, data: str, teacher: str) -> pd.DataFrame:
    """Return the rows for ``bench/leaderboard/discrimination.csv``."""
    worst = found[(found["better"] == teacher) & (found["worse"] == WORST)]
    rows = [(data, teacher, row.task, round(row.standard_errors, 1)) for row in worst.itertuples()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def wide(found: pd.DataFrame, teacher: str) -> pd.DataFrame:
    """Return one row per student and one column per task: the gap to the teacher, and its standard errors."""
    own = found[found["better"] == teacher].copy()
    own["text"] = [f"{row.gap:.1f} ({row.standard_errors:.1f})" for row in own.itertuples()]
    table = own.pivot_table(index="worse", columns="task", values="text", aggfunc="first", sort=False)
    return table.reset_index().rename(columns={"worse": f"points below {teacher} (standard errors)"})


def markdown(table: pd.DataFrame) -> str:
    """Format a table as Markdown."""
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    lines += [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.to_numpy()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    typer.run(main)
