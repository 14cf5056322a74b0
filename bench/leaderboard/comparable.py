"""Which runs' rows may be ranked together: those with the same data, preset, protocol and settings of the heads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.config.compatibility import difference_of_tasks
from bench.errors import UserError
from bench.leaderboard.discrimination import discrimination_note
from bench.leaderboard.failed_cells import failed_tasks, failure_notes
from bench.leaderboard.notes import preset_name, table_notes
from bench.leaderboard.overall import scale_problems
from bench.leaderboard.run_leaderboard import collated, references, run_context
from bench.leaderboard.superb_deviations import deviations
from bench.leaderboard.tidy import tidy_scores
from bench.leaderboard.titles import in_order
from bench.store.latency import MEASURED_ON
from bench.store.records import Record, data_differences, weights_differences
from bench.store.run_folder import RunFolder

NAMED_AT_MOST = 6
"""A note names at most so many models of a list."""


@dataclass(frozen=True)
class Board:
    """A run's leaderboard, and what decides whether it may be ranked together with another run's."""

    path: Path
    """The run's folder."""
    name: str
    """Name of the run, unique within the report."""
    table: pd.DataFrame
    """As ``leaderboard.csv``."""
    means: pd.DataFrame
    """The same scores, one per row: from `bench.leaderboard.collate.mean_scores`."""
    records: tuple[Record, ...]
    config: Mapping[str, Any]
    """Content of ``config.yaml``."""
    split: str = "test"
    """Split of the scores."""
    scale_problems: tuple[str, ...] = ()
    """Why there are no relative scores, see `bench.leaderboard.overall.scale_problems`."""
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rows to the tasks that failed on them."""

    @property
    def conditions(self) -> tuple[str, str, str]:
        """Data, preset and protocol; all records of one run agree."""
        first = self.records[0]
        return first.data, first.preset, first.protocol

    @property
    def teacher_row(self) -> str | None:
        """The row of the run's teacher."""
        return next(
            (row for row, reference in self.references.items() if reference == self.config.get("teacher")), None
        )

    @property
    def references(self) -> dict[str, str]:
        """Rows of models given by reference, to these references."""
        return references(self.config)

    @property
    def mixtures(self) -> tuple[str, ...]:
        """Report rows and tasks whose records mix scores of different weights or on different data."""
        has_weights_by_seed = bool(self.config.get("training_budget"))
        return (*data_differences(self.records), *weights_differences(self.records, by_seed=has_weights_by_seed))

    @property
    def has_relative_scores(self) -> bool:
        """Whether any row has a score between filter banks and teacher."""
        return bool(self.table["relative_score"].notna().any())

    @property
    def relative_scale(self) -> str:
        """Teacher and tasks. Relative scores of runs may be ranked together only if these agree."""
        return f"{self.config['teacher']} over {', '.join(in_order(record.cell.task for record in self.records))}"


@dataclass(frozen=True)
class Comparable:
    """Runs whose rows may be ranked together."""

    boards: tuple[Board, ...]
    apart: tuple[str, ...] = ()
    """Why other runs with the same data, preset and protocol are ranked separately."""

    @property
    def tasks(self) -> frozenset[str]:
        """Tasks that any of the runs has."""
        return frozenset(record.cell.task for board in self.boards for record in board.records)

    @property
    def is_superb(self) -> bool:
        """Whether all scores are on SUPERB's own corpora with its recipes, and of their test splits."""
        is_test = all(board.split == "test" for board in self.boards)
        return is_test and not any(deviations(record) for board in self.boards for record in board.records)

    @property
    def has_one_scale(self) -> bool:
        """Whether relative scores of different runs are over the same tasks, and relative to the same teacher."""
        return len({board.relative_scale for board in self.boards if board.has_relative_scores}) <= 1

    @property
    def heading(self) -> str:
        """Describe where the scores come from."""
        data, preset, protocol = self.boards[0].conditions
        runs = ", ".join(board.name for board in self.boards)
        superb = ", SUPERB's corpora" if self.is_superb else ""
        split = "" if self.boards[0].split == "test" else f", {self.boards[0].split} split"
        return f"{data}, preset {preset_name(preset)}, protocol {protocol}{split}{superb} ({runs})"

    @property
    def notes(self) -> tuple[str, ...]:
        """List what a reader must know about these rows."""
        notes = [*table_notes([board.table for board in self.boards], self.boards[0].split), *self.apart]
        if weak := discrimination_note(self.boards[0].conditions[0], self.tasks):
            notes.append(weak)
        for board in self.boards:
            run = f"{board.name}: " if len(self.boards) > 1 else ""
            problems = (*failure_notes(board.failed), *board.mixtures, *board.scale_problems)
            notes += [f"{run}{problem}" for problem in problems]
        if sum(board.has_relative_scores for board in self.boards) > 1:
            notes.append("The relative score is that of each run's own filter banks (0) and teacher (100).")
        if not self.has_one_scale:
            notes.append("Other tasks or another teacher in each run: relative scores of different runs have no rank.")
        reasons = {reason for board in self.boards for record in board.records for reason in deviations(record)}
        if self.boards[0].conditions[1:] == ("paper", "s3prl") and reasons:
            notes.append(f"Not SUPERB's own corpora and recipes, so without its score: {'; '.join(sorted(reasons))}.")
        return (*notes, *self._machine_notes())

    def _machine_notes(self) -> list[str]:
        """List which machine measured which rows."""
        rows: dict[str, list[str]] = {}
        for board in self.boards:
            if MEASURED_ON in board.table:
                known = board.table.dropna(subset=MEASURED_ON)
                for machine, model in zip(known[MEASURED_ON], known["model"], strict=True):
                    rows.setdefault(machine, []).append(model)
        if len(rows) == 1:
            return [f"Real-time factors: one thread of {next(iter(rows))}."]
        told = [f"{machine} ({_some(dict.fromkeys(models))})" for machine, models in sorted(rows.items())]
        return [f"Real-time factors of different machines have no rank: {'; '.join(told)}."] if told else []


def read_boards(paths: Sequence[Path], split: str = "test", tasks: Sequence[str] = ()) -> list[Board]:
    """Rebuild the leaderboards of runs from their records, each run once.

    Args:
        paths: the runs' folders.
        split: of the scores.
        tasks: tasks to collate; all if empty.

    Raises:
        UserError: see `read_board`.
    """
    folders = list(dict.fromkeys(path.resolve() for path in paths))
    names = [folder.name for folder in folders]
    return [
        read_board(folder, split, tasks, name if names.count(name) == 1 else f"{folder.parent.name}/{name}")
        for folder, name in zip(folders, names, strict=True)
    ]


def read_board(path: Path, split: str = "test", tasks: Sequence[str] = (), name: str | None = None) -> Board:
    """Rebuild a run's leaderboard from its records.

    Args:
        path: the run's folder.
        split: of the scores.
        tasks: tasks to collate; all if empty.
        name: of the run, by default its folder's.

    Raises:
        UserError: the folder is no run, the run has no finished cell yet, or a record is torn.
    """
    folder = RunFolder(path)
    config = folder.read_config() if folder.config_path.is_file() else None
    if config is None:
        raise UserError(f"Expected a run's folder at {path}. Found no config.yaml in it. Name the --out of a run.")
    records = tuple(folder.records)
    if not records:
        raise UserError(f"Expected finished cells in {path}. Found none. Run its command again to finish it.")
    there = sorted({record.cell.task for record in records})
    if missing := [task for task in tasks if task not in there]:
        raise UserError(f"--tasks {missing[0]}: {path} has no such records. It has: {', '.join(there)}.")
    records = tuple(record for record in records if not tasks or record.cell.task in tasks)
    scores = tidy_scores(records)
    table, means = collated(scores, config, path, split)
    return Board(
        path,
        name or path.resolve().name,
        table,
        means,
        records,
        config,
        split,
        tuple(scale_problems(scores[scores["split"] == split], run_context(scores, config))),
        _only(failed_tasks(folder, config), tasks),
    )


def _only(failed: Mapping[str, tuple[str, ...]], tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Leave out failures on tasks that were not requested."""
    shown = {row: tuple(task for task in found if not tasks or task in tasks) for row, found in failed.items()}
    return {row: found for row, found in shown.items() if found}


def comparable(boards: Sequence[Board]) -> list[Comparable]:
    """Group runs whose rows may be ranked together, in the order of each group's first run."""
    found: list[Comparable] = []
    for board in boards:
        apart = []
        for position, kin in enumerate(found):
            if kin.boards[0].conditions != board.conditions:
                continue
            difference = next(filter(None, (_difference(other, board) for other in kin.boards)), "")
            if not difference:
                found[position] = Comparable((*kin.boards, board), kin.apart)
                break
            apart.append(f"Not to be ranked with {kin.boards[0].name}: {difference}.")
        else:
            found.append(Comparable((board,), tuple(apart)))
    return found


def _difference(first: Board, other: Board) -> str:
    """Name the first setting of a task, or of its data, in which two runs differ; empty if they agree."""
    for task, (here, there) in _shared(_audio(first), _audio(other)).items():
        if here != there:
            return f"the audio of {task} differs in bits"
    for task, (own, others) in _shared(_corpora(first), _corpora(other)).items():
        if own != others:
            return f"the labels or the audio of {task} differ"
    found = difference_of_tasks(first.config, other.config, same_data=_audio(first))
    return f"{found.name} is {found.here} here and {found.there} there" if found else ""


def _audio(board: Board) -> dict[str, str]:
    """Map each task to the hash of its audio, if known."""
    return {record.cell.task: record.audio_sha256 for record in board.records if record.audio_sha256}


def _corpora(board: Board) -> dict[str, set[str]]:
    """Map each task to the hashes of its labels and audio, if known."""
    found: dict[str, set[str]] = {}
    for record in board.records:
        if record.data_sha256:
            found.setdefault(record.cell.task, set()).add(record.data_sha256)
    return found


def _shared(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (first[key], other[key]) for key in first if key in other}


def _some(names: Collection[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(list(names)[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
