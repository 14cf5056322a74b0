"""What a report shows: leaderboards in groups of rows that may be ranked together, and published rows beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from bench.contracts import Metric
from bench.report.columns import MACS_SUPERB, PARAMS, Column, columns_of
from bench.report.comparable import Board, comparable
from bench.report.published import SOURCES, published_rows
from bench.report.run_leaderboard import primary_metrics
from bench.score import SUPERB_ANCHORS, superb6_score, superb_score

PUBLISHED = "published"
"""Preset and protocol of published rows, in tables."""

PRINTED_SIZES = frozenset(column.key for column in (PARAMS, MACS_SUPERB))
"""What published rows have from print, rounded to as many digits as its authors liked."""

COMPRESSED_ELSEWHERE = "as published"
"""Compressor of published rows that are compressed models."""


class Figure(NamedTuple):
    """A number as a report shows it, in the unit of its column."""

    mean: float
    std: float | None = None
    """Sample standard deviation over seeds; None for one seed, or where there is no such thing."""
    decimals: int | None = None
    """Known of a published figure, where these are fewer than its column shows."""

    def mean_text(self, column: Column) -> str:
        """Write the mean for the eye."""
        return f"{self.mean:.{column.decimals if self.decimals is None else self.decimals}f}"


Cell = str | Figure | None


@dataclass(frozen=True)
class Group:
    """Rows that may be ranked together."""

    heading: str
    """Data, preset and protocol."""
    table: pd.DataFrame
    """As ``leaderboard.csv``, with ``source``: the run's name, or letters of the publication; ``ranking``: the same for
    all rows of the group, the first of its runs by name; and ``split``."""
    columns: tuple[Column, ...]
    """What of it to show."""
    notes: tuple[str, ...] = ()
    """What a reader must know of these rows."""

    @property
    def is_published(self) -> list[bool]:
        """Which rows are published ones."""
        return [bool(preset == PUBLISHED) for preset in self.table["preset"]]

    def rows(self) -> list[dict[str, Cell]]:
        """Read all cells, by the key of their column."""
        return [{column.key: _cell(row, column) for column in self.columns} for _, row in self.table.iterrows()]

    def texts(self) -> list[dict[str, str]]:
        """Write all cells for the eye, by the title of their column."""
        return [
            {column.title_with_unit: text(row[column.key], column) for column in self.columns} for row in self.rows()
        ]

    def best(self, column: Column) -> frozenset[int]:
        """Find the rows that are best in a column, as printed, of those that compression made.

        None is where these are fewer than two; where no row was compressed, all rows compete.
        """
        if not column.marks_best or column.decimals is None:
            return frozenset()
        compressed = (self.table["compressor"] != "none").tolist()
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
    """Write a cell for the eye, nothing for an empty one."""
    if not isinstance(cell, Figure):
        return cell or ""
    spread = "" if cell.std is None else f" ± {cell.std:.{column.decimals}f}"
    return f"{cell.mean_text(column)}{spread}"


def report_groups(boards: Sequence[Board], *, with_published: bool = False) -> list[Group]:
    """Put the rows of runs into groups that may be ranked, and published ones where they belong.

    Published rows join runs on SUPERB's own corpora by its recipes; beside others they are a group of their own.

    Args:
        boards: the runs' leaderboards.
        with_published: whether to add published rows.
    """
    groups = []
    has_joined = not with_published
    for kin in comparable(boards):
        ranking = min(board.name for board in kin.boards)
        tables = [board.table.assign(source=board.name, split=board.split) for board in kin.boards]
        metrics = primary_metrics(kin.tasks)
        notes = list(kin.notes)
        heading = kin.heading
        if kin.is_superb and with_published:
            tables.append(published_table())
            metrics = {**PUBLISHED_METRICS, **metrics}
            notes += _source_notes()
            heading += ", and published rows"
            has_joined = True
        table = pd.concat([one.dropna(axis=1, how="all") for one in tables], ignore_index=True).assign(ranking=ranking)
        table = _distinct(table, kin.boards)
        columns = columns_of(table, metrics, by_superb=kin.is_superb, ranks_relative=kin.has_one_scale)
        groups.append(Group(heading, table, columns, tuple(notes)))
    return groups if has_joined else [*groups, published_group()]


def published_group() -> Group:
    """Return all published rows."""
    table = published_table()
    heading = "Published results on SUPERB's corpora, not of this suite"
    return Group(heading, table, columns_of(table, PUBLISHED_METRICS, by_superb=True), tuple(_source_notes()))


PUBLISHED_METRICS = {
    task: tuple(
        Metric(name, anchors.state_of_the_art > anchors.fbank, primary=True) for name, anchors in metrics.items()
    )
    for task, metrics in SUPERB_ANCHORS.items()
}


def published_table() -> pd.DataFrame:
    """Return published rows as a leaderboard; both SUPERB scores are computed from their scores."""
    table = pd.DataFrame(
        [
            {
                "model": row.model,
                "compressor": "none" if row.compression_audio_h is None else COMPRESSED_ELSEWHERE,
                "params": None if row.params_m is None else round(row.params_m * 1e6),
                "macs_superb": None if row.macs_g is None else round(row.macs_g * 1e9),
                "preset": PUBLISHED,
                "data": "SUPERB",
                "protocol": PUBLISHED,
                **{
                    f"{task}_{metric}": value
                    for task, metrics in row.scores.items()
                    for metric, value in metrics.items()
                },
                "superb6_score": superb6_score(row.scores),
                "superb_score": superb_score(row.scores),
                "source": ";".join(row.sources),
                "ranking": PUBLISHED,
                "split": "test",
            }
            for row in published_rows()
        ]
    )
    return table.astype({"params": "Int64", "macs_superb": "Int64"})


def _source_notes() -> list[str]:
    return [f"[{letter}] {source}" for letter, source in SOURCES.items()]


def _cell(row: pd.Series, column: Column) -> Cell:
    value = row[column.key]
    if pd.isna(value):
        return None
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
    """Count the decimals of a number that was read from print."""
    return len(f"{value:.9g}".partition(".")[2])


def _model(row: pd.Series) -> str:
    is_published = row["preset"] == PUBLISHED
    return f"{row['model']} [{row['source'].replace(';', ', ')}]" if is_published else str(row["model"])


def _distinct(table: pd.DataFrame, boards: Sequence[Board]) -> pd.DataFrame:
    """Name the run behind models that several runs have."""
    if len(boards) < 2:
        return table
    is_own = table["preset"] != PUBLISHED
    is_doubled = is_own & table["model"].duplicated(keep=False)
    return table.assign(model=table["model"].where(~is_doubled, table["model"] + " (" + table["source"] + ")"))
