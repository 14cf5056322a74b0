"""The content of a report: leaderboards in groups of rows that may be ranked together, with published rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from bench import registry
from bench.leaderboard import published
from bench.leaderboard.collate import SMOKE
from bench.leaderboard.comparable import Board, comparable
from bench.leaderboard.failed_cells import FAILED, tasks_that_failed, with_failures
from bench.leaderboard.published import PUBLISHED, SOURCES
from bench.leaderboard.run_leaderboard import primary_metrics
from bench.leaderboard.shown_scores import shown_scores
from bench.reports.tables.columns import MACS_SUPERB, PARAMS, Column, columns_of

RELATIVE_SCALE = "relative_scale"
"""Column: the teacher and the tasks of a row's relative score."""

PRINTED_SIZES = frozenset(column.key for column in (PARAMS, MACS_SUPERB))
"""Columns that published rows take from print, with as many digits as the authors gave."""

SMALLER = 0.9
"""A compressed model competes for the best score only up to this share of its teacher's size. A supernet of the
teacher's size has compressed nothing.
"""

BYTES_A_WEIGHT = 4
"""Bytes per weight of a teacher, in float32."""


class Figure(NamedTuple):
    """A number as a report shows it, in the unit of its column."""

    mean: float
    std: float | None = None
    """Sample standard deviation over seeds; None for one seed, or if undefined."""
    decimals: int | None = None
    """Decimals of a published figure, if fewer than its column shows."""

    def mean_text(self, column: Column) -> str:
        """Format the mean for readers."""
        return f"{self.mean:.{column.decimals if self.decimals is None else self.decimals}f}"


Cell = str | Figure | None
"""Text; in a column of figures also `FAILED`, or None if there is no figure."""


@dataclass(frozen=True)
class Group:
    """Rows that may be ranked together."""

    heading: str
    """Data, preset and protocol."""
    table: pd.DataFrame
    """As ``leaderboard.csv``, with three more columns. ``source`` is the run's name, or letters of the publication.
    ``ranking`` is the same for all rows of the group: the first of its runs by name. ``split`` is the scores' split.
    """
    columns: tuple[Column, ...]
    """The columns to show."""
    notes: tuple[str, ...] = ()
    """What a reader must know about these rows."""
    scores: pd.DataFrame = field(default_factory=lambda: shown_scores([]))
    """The same scores, one per row: from `bench.leaderboard.shown_scores`."""

    @property
    def is_published(self) -> list[bool]:
        """Whether each row is a published one."""
        return [bool(preset == PUBLISHED) for preset in self.table["preset"]]

    def keys(self) -> list[tuple[str, str]]:
        """Return the run and the model of every row; `PUBLISHED` is the run of published ones."""
        return [
            (PUBLISHED if published else source, model.removesuffix(f" ({source})"))
            for published, source, model in zip(
                self.is_published, self.table["source"], self.table["model"], strict=True
            )
        ]

    @cached_property
    def _rows(self) -> list[dict[str, Cell]]:
        return [{column.key: _cell(row, column) for column in self.columns} for row in self.table.to_dict("records")]

    def rows(self) -> list[dict[str, Cell]]:
        """Return all cells, by the key of their column."""
        return self._rows

    def texts(self) -> list[dict[str, str]]:
        """Format all cells for readers, by the title of their column."""
        return [{column.heading: text(row[column.key], column) for column in self.columns} for row in self.rows()]

    @cached_property
    def _compressed(self) -> list[bool]:
        return [_is_smaller(row) for row in self.table.to_dict("records")]

    def best(self, column: Column) -> frozenset[int]:
        """Find the rows that are best in a column, as printed, among those that compression made smaller.

        Empty if fewer than two rows compete, or if scores are meaningless (preset ``smoke``). If no row was compressed,
        all rows compete.
        """
        if not column.marks_best or column.decimals is None or (self.table["preset"] == SMOKE).any():
            return frozenset()
        compressed = self._compressed
        shown = {
            position: round(figure.mean, column.decimals)
            for position, row in enumerate(self.rows())
            if (compressed[position] or not any(compressed)) and isinstance(figure := row[column.key], Figure)
        }
        if len(shown) < 2:
            return frozenset()
        best = (max if column.higher_is_better else min)(shown.values())
        return frozenset(position for position, value in shown.items() if value == best)


def text(cell: Cell, column: Column) -> str:
    """Format a cell for readers; an empty cell gives an empty text."""
    if not isinstance(cell, Figure):
        return cell or ""
    spread = "" if cell.std is None else f" ± {cell.std:.{column.decimals}f}"
    return f"{cell.mean_text(column)}{spread}"


def report_groups(boards: Sequence[Board], *, with_published: bool = False) -> list[Group]:
    """Group the runs' rows into sets that may be ranked, and add published rows where they belong.

    Published rows join runs on SUPERB's own corpora with its recipes; otherwise they are a group of their own.

    Args:
        boards: the runs' leaderboards.
        with_published: whether to add published rows.
    """
    groups = []
    has_joined = not with_published
    for kin in comparable(boards):
        ranking = min(board.name for board in kin.boards)
        tables = [_own_table(board) for board in kin.boards]
        metrics = primary_metrics(kin.tasks | _known_failed_tasks(kin.boards))
        notes = list(kin.notes)
        heading = kin.heading
        if kin.is_superb and with_published:
            tables.append(published.published_table())
            metrics = {**published.METRICS, **metrics}
            notes += _source_notes()
            heading += ", and published rows"
            has_joined = True
        table = pd.concat([one.dropna(axis=1, how="all") for one in tables], ignore_index=True).assign(ranking=ranking)
        table = _distinct(table, kin.boards)
        columns = columns_of(table, metrics, by_superb=kin.is_superb, ranks_relative=kin.has_one_scale)
        scores = shown_scores(kin.boards, with_published=kin.is_superb and with_published).assign(setting=1)
        groups.append(Group(heading, table, columns, tuple(notes), scores))
    return groups if has_joined else [*groups, published_group()]


def _known_failed_tasks(boards: Sequence[Board]) -> set[str]:
    """List the installed tasks that failed on some row."""
    failed = {task for board in boards for tasks in board.failed.values() for task in tasks}
    return failed & set(registry.names("bench.tasks"))


def _own_table(board: Board) -> pd.DataFrame:
    table = with_failures(board.table, board.failed)
    scale = table["relative_score"].map(lambda score: None if pd.isna(score) else board.relative_scale)
    return table.assign(source=board.name, split=board.split, **{RELATIVE_SCALE: scale})


def published_group() -> Group:
    """Return all published rows."""
    table = published.published_table()
    heading = "Published results on SUPERB's corpora, not of this suite"
    columns = columns_of(table, published.METRICS, by_superb=True)
    return Group(heading, table, columns, tuple(_source_notes()), shown_scores([], with_published=True))


def _is_smaller(row: Mapping[Any, Any]) -> bool:
    """Return whether compression left at most `SMALLER` of the teacher's bytes.

    Published rows are compared by parameters with HuBERT Base: all were made from models of its size. If a compressor
    reports no sparsity, the model counts as smaller.
    """
    if row["compressor"] == "none":
        return False
    if row["preset"] == PUBLISHED:
        return bool(row["params"] <= SMALLER * published.hubert_base_params())
    sparsity, size_bytes = row.get("sparsity"), row.get("size_bytes")
    if pd.isna(sparsity) or pd.isna(size_bytes):
        return True
    # 1 - sparsity is the share of the teacher's parameters that is left.
    return bool(size_bytes * (1 - sparsity) <= SMALLER * BYTES_A_WEIGHT * row["params"])


def _source_notes() -> list[str]:
    return [f"[{letter}] {source}" for letter, source in SOURCES.items()]


def _cell(row: Mapping[Any, Any], column: Column) -> Cell:
    value = row.get(column.key)
    if pd.isna(value):
        return FAILED if column.task in tasks_that_failed(row) else None
    if column.is_text:
        return _model(row) if column.key == "model" else str(value)
    mean, spread = float(value) / column.scale, row.get(f"{column.key}_std")
    is_rounded = row["preset"] == PUBLISHED and column.key in PRINTED_SIZES
    return Figure(
        mean,
        None if pd.isna(spread) else float(spread) / column.scale,
        min(column.decimals or 0, _decimals(mean)) if is_rounded else None,
    )


def _decimals(value: float) -> int:
    """Count the decimals of a printed number."""
    return len(f"{value:.9g}".partition(".")[2])


def _model(row: Mapping[Any, Any]) -> str:
    is_published = row["preset"] == PUBLISHED
    return f"{row['model']} [{row['source'].replace(';', ', ')}]" if is_published else str(row["model"])


def _distinct(table: pd.DataFrame, boards: Sequence[Board]) -> pd.DataFrame:
    """Add the run's name to models that several runs have."""
    if len(boards) < 2:
        return table
    is_own = table["preset"] != PUBLISHED
    is_doubled = is_own & table["model"].duplicated(keep=False)
    return table.assign(model=table["model"].where(~is_doubled, table["model"] + " (" + table["source"] + ")"))
