"""Rows of the leaderboard to compare: found by name or folder, and refused if they cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.config.compatibility import difference
from bench.config.later_settings import tasks_up_to_date
from bench.errors import UserError
from bench.store.records import Record, RecordStore
from bench.store.run_folder import RunFolder
from bench.text import printable, shortened


@dataclass(frozen=True)
class Row:
    """One model with its records."""

    name: str
    store: RecordStore
    task_settings: Mapping[str, Any]
    """Each task's complete configuration in that run."""
    records: Mapping[str, Mapping[int, Record]]
    """Task to seed to record."""


def newest_run(root: Path) -> Path:
    """Find the run below ``root`` that finished last.

    Raises:
        UserError: there is none.
    """
    runs = [path.parent for path in root.glob("*/leaderboard.csv")]
    if not runs:
        raise UserError(f"Expected runs in {root}. Found none. Name the folder of one.")
    return max(runs, key=lambda run: (run / "leaderboard.csv").stat().st_mtime)


def runs_in(folders: Sequence[Path]) -> list[Path]:
    """Replace each folder of runs, such as ``results``, by its runs with finished cells, sorted by name.

    Other folders stay in the list: runs and models, and folders without any, which their reader then refuses.
    """
    return [run for folder in folders for run in _runs_below(folder) or [folder]]


def _runs_below(folder: Path) -> list[Path]:
    if (folder / "config.yaml").exists() or (folder / "config.json").exists():
        return []
    found = [*folder.glob("*/cells/*/*.json"), *folder.glob("runs/*/cells/*/*.json")]
    return sorted({path.parent.parent.parent for path in found})


def find_rows(models: Sequence[str], run: Path | None, default_root: Path) -> list[Row]:
    """Find the rows that the user named.

    Args:
        models: names of rows of ``run``, or folders ``DIR/cells/MODEL``.
        run: a run's folder; by default the newest one below ``default_root``, if a name needs it.
        default_root: the folder of all runs.

    Raises:
        UserError: fewer than two, no such row, or a row without records.
    """
    if len(models) < 2:
        raise UserError("Expected two models or more to compare. Found one. Name another row of the leaderboard.")
    folders = []
    for model in models:
        path = Path(model)
        if path.resolve().parent.name == "cells" and path.is_dir():
            folders.append(path.resolve())
        else:
            run = run or newest_run(default_root)
            folders.append(_named(model, run))
    if len(set(folders)) < len(folders):
        raise UserError(f"Expected different models to compare. Found one twice in {', '.join(models)}.")
    names = [folder.name for folder in folders]
    runs = [folder.parent.parent for folder in folders]
    settings = {run: _task_settings(RunFolder(run)) for run in dict.fromkeys(runs)}
    return [
        _row(folder, name if names.count(name) == 1 else f"{run.name}/{name}", settings[run])
        for folder, name, run in zip(folders, names, runs, strict=True)
    ]


def refuse_differences(first: Record, other: Record, settings: tuple[Any, Any], names: tuple[str, str]) -> None:
    """Refuse two records of a task whose scores differ for other reasons than the model.

    Args:
        first: record of one model.
        other: record of the other.
        settings: the task's configuration in each run.
        names: of the models.

    Raises:
        UserError: data, audio, preset, protocol or a setting of the task differs.
    """
    task = first.cell.task
    here, there = (
        {
            "data": record.data,
            "preset": record.preset,
            "protocol": record.protocol,
            "tasks": {task: own},
        }
        for record, own in zip((first, other), settings, strict=True)
    )
    for what, hashes in (
        ("audio (hash)", (first.audio_sha256, other.audio_sha256)),
        ("labels and audio (hash)", (first.data_sha256, other.data_sha256)),
    ):
        if all(hashes):
            here[what], there[what] = (str(sha256)[:8] for sha256 in hashes)
    if found := difference(there, here):
        first_text, other_text = printable(shortened(found.here)), printable(shortened(found.there))
        raise UserError(
            f"{names[0]} and {names[1]} cannot be compared on {task}: {found.name} is {first_text} for "
            f"the one and {other_text} for the other. Evaluate both in the same way."
        )


def _named(model: str, run: Path) -> Path:
    if not (run / "cells").is_dir():
        raise UserError(f"Expected a run's folder, with cells in it, at {run}. Found none. Correct --run.")
    folder = run / "cells" / model
    if not folder.is_dir():
        known = [path.name for path in (run / "cells").iterdir() if path.is_dir()]
        raise UserError(f"Unknown model {model!r} in {run}. {registry.nearest(model, known)}")
    return folder


def _row(folder: Path, name: str, task_settings: Mapping[str, Any]) -> Row:
    store = RecordStore(folder.parent.parent)
    records: dict[str, dict[int, Record]] = {}
    for record in store.of(folder.name):
        records.setdefault(record.cell.task, {})[record.cell.seed] = record
    if not records:
        raise UserError(f"Expected records of finished cells in {folder}. Found none. Finish the run first.")
    return Row(name, store, task_settings, records)


def _task_settings(folder: RunFolder) -> dict[str, Any]:
    config = folder.read_config()
    if config is None:
        raise UserError(f"Expected a run's configuration in {folder.config_path}. Found none. Name another run.")
    return tasks_up_to_date(config)
