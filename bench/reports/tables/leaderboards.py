"""The content of a report: leaderboards in groups of rows that may be ranked together, with published rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import pandas as pd

from bench import registry
from bench.leaderboard import published
from bench.leaderboard.collate import SEEDS, SMOKE
from bench.leaderboard.comparable import Board, comparable
from bench.leaderboard.failed_cells import FAILED, tasks_that_failed, with_failures
from bench.leaderboard.published import PUBLISHED, SOURCES
from bench.leaderboard.run_leaderboard import primary_metrics
from bench.leaderboard.shown_scores import shown_scores
from bench.reports.names import renamed
from bench.reports.tables.columns import MACS_SUPERB, PARAMS, Column, columns_of
from bench.reports.tables.sizes import by_size, is_smaller, sizes

RELATIVE_SCALE = "relative_scale"
"""Column: the teacher and the tasks of a row's relative score."""
DIFFERS = "_differs"
"""End of the columns with the stars of a score, see `bench.reports.tables.significance`."""

PRINTED_SIZES = frozenset(column.key for column in (PARAMS, MACS_SUPERB))
"""Columns that published rows take from print, with as many digits as the authors gave."""


class Figure(NamedTuple):
    """A number as a report shows it, in the unit of its column."""

    mean: float
    std: float | None = None
    """Sample standard deviation over seeds; None for one seed, or if undefined."""
    decimals: int | None = None
    """Decimals of a published figure, if fewer than its column shows."""
    stars: str = ""
    """Whether it differs from the reference row's, see `bench.reports.tables.significance`."""

    def mean_text(self, column: Column) -> str:
        """Format the mean for readers."""
        return f"{self.mean:.{column.decimals if self.decimals is None else self.decimals}f}"

    def spread_text(self, column: Column) -> str:
        """Format the standard deviation for readers, with the stars; empty if there are neither."""
        return ("" if self.std is None else f" ± {self.std:.{column.decimals}f}") + self.stars


Mark = Literal["best", "second"]
BEST: Mark = "best"
SECOND: Mark = "second"

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
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of methods and rows, to what readers see instead."""

    @property
    def is_published(self) -> list[bool]:
        """Whether each row is a published one."""
        return [bool(preset == PUBLISHED) for preset in self.table["preset"]]

    def row_keys(self) -> list[tuple[str, str]]:
        """Return the run and the model of every row; `PUBLISHED` is the run of published ones."""
        return [
            (PUBLISHED if published else source, model.removesuffix(f" ({source})"))
            for published, source, model in zip(
                self.is_published, self.table["source"], self.table["model"], strict=True
            )
        ]

    @cached_property
    def _rows(self) -> list[dict[str, Cell]]:
        return [
            {column.key: _cell(row, column, self.names) for column in self.columns}
            for row in self.table.to_dict("records")
        ]

    def rows(self) -> list[dict[str, Cell]]:
        """Return all cells, by the key of their column."""
        return self._rows

    def texts(self) -> list[dict[str, str]]:
        """Format all cells for readers, by the title of their column."""
        return [{column.heading: text(row[column.key], column) for column in self.columns} for row in self.rows()]

    @cached_property
    def sizes(self) -> list[int]:
        """The part of every row, see `bench.reports.tables.sizes`."""
        return sizes(self.table)

    @cached_property
    def marks(self) -> dict[tuple[int, str], Mark]:
        """Find what stands out: position of the row and key of the column, to `BEST` or `SECOND`.

        Rows of one size compete, as printed, if compression made them smaller; all rows do if no row was compressed. A
        size with fewer than two such rows has no best, one with fewer than three no second best. Scores that are
        meaningless (preset ``smoke``) have neither.
        """
        if (self.table["preset"] == SMOKE).any():
            return {}
        return {
            (position, column.key): mark
            for column in self.columns
            if column.marks_best
            for position, mark in self._column_marks(column)
        }

    def _column_marks(self, column: Column) -> Iterator[tuple[int, Mark]]:
        by_size: dict[int, dict[int, float]] = {}
        for position in self._competitors:
            figure = self.rows()[position][column.key]
            if isinstance(figure, Figure):
                by_size.setdefault(self.sizes[position], {})[position] = round(figure.mean, column.decimals)
        for shown in by_size.values():
            values = sorted(set(shown.values()), reverse=bool(column.higher_is_better))
            for mark, value, fewest in zip((BEST, SECOND), values, (2, 3), strict=False):
                if len(shown) >= fewest:
                    yield from ((position, mark) for position, mine in shown.items() if mine == value)

    @cached_property
    def _competitors(self) -> list[int]:
        smaller = [position for position, row in enumerate(self.table.to_dict("records")) if is_smaller(row)]
        return smaller or list(range(len(self.table)))


def text(cell: Cell, column: Column) -> str:
    """Format a cell for readers; an empty cell gives an empty text."""
    if not isinstance(cell, Figure):
        return cell or ""
    return f"{cell.mean_text(column)}{cell.spread_text(column)}"


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
        table = by_size(_distinct(table, kin.boards))
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
    counts = table[[name for name in table if str(name).endswith(f"_{SEEDS}")]]
    return table.assign(
        source=board.name, split=board.split, **{RELATIVE_SCALE: scale, SEEDS: counts.min(axis=1).astype("Int64")}
    )


def published_group() -> Group:
    """Return all published rows."""
    table = by_size(published.published_table())
    heading = "Published results on SUPERB's corpora, not of this suite"
    columns = columns_of(table, published.METRICS, by_superb=True)
    return Group(heading, table, columns, tuple(_source_notes()), shown_scores([], with_published=True))


def _source_notes() -> list[str]:
    return [f"[{letter}] {source}" for letter, source in SOURCES.items()]


def _cell(row: Mapping[Any, Any], column: Column, names: Mapping[str, str]) -> Cell:
    value = row.get(column.key)
    if pd.isna(value):
        return FAILED if column.task in tasks_that_failed(row) else None
    if column.is_text:
        return renamed(_model(row) if column.key == "model" else str(value), names)
    mean, spread = float(value) / column.scale, row.get(f"{column.key}_std")
    stars = row.get(f"{column.key}{DIFFERS}")
    is_rounded = row["preset"] == PUBLISHED and column.key in PRINTED_SIZES
    return Figure(
        mean,
        None if pd.isna(spread) else float(spread) / column.scale,
        min(column.decimals or 0, _decimals(mean)) if is_rounded else None,
        stars if isinstance(stars, str) else "",
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
