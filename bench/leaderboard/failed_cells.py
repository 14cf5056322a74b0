"""Which cells of a run have failed, by the notes that its processes left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bench.leaderboard.titles import in_order
from bench.store.run_folder import COMPRESS, LOAD, RunFolder

FAILED = "failed"
"""In tables, in place of a score."""

_CELL = re.compile(r"(.+)-seed\d+")
_SEED = re.compile(r"-seed\d+$")


def failed_tasks(folder: RunFolder, config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """List the tasks of each row that failed for some seed and have not succeeded since.

    Args:
        folder: of the run.
        config: what its ``config.yaml`` holds.

    Returns:
        Row to tasks; a row whose model could not be made or loaded has failed on every task without a record.
    """
    found: dict[str, set[str]] = {}
    for note in sorted(folder.failures_folder.glob("*/*.txt")):
        cell = _CELL.fullmatch(note.stem)
        if cell and not (folder.records.folder / note.parent.name / f"{note.stem}.json").is_file():
            found.setdefault(note.parent.name, set()).add(cell[1])
    for note in sorted(folder.failures_folder.glob("*.txt")):
        kind, _, name = note.stem.partition("-")
        if kind in (COMPRESS, LOAD) and name:
            row = _SEED.sub("", name) if config.get("training_budget") else name
            scored = {record.cell.task for record in folder.records.of(row)}
            found.setdefault(row, set()).update(set(config.get("tasks", ())) - scored)
    return {row: tuple(in_order(tasks)) for row, tasks in found.items() if tasks}


def failure_notes(failed: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Say in a line what failed; nothing where nothing did."""
    told = "; ".join(f"{row} ({', '.join(tasks)})" for row, tasks in failed.items())
    return [f"Failed, with the reasons in failures/ of the run's folder: {told}. Run again to retry."] if told else []
