"""The columns of a report: names, units, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.contracts import Metric
from bench.leaderboard.collate import SEEDS
from bench.leaderboard.failed_cells import tasks_that_failed
from bench.leaderboard.titles import OVERALL_TITLES, in_order, score_title

ARROWS = {True: " ↑", False: " ↓", None: ""}
"""Arrow by ``higher_is_better``."""
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Column:
    """One column of a report."""

    key: str
    """Name in the table; ``<key>_std`` is the column of its standard deviation."""
    title: str
    unit: str = ""
    """Unit of the figures as shown."""
    scale: float = 1.0
    """The table's figures are divided by this before they are shown."""
    decimals: int | None = 2
    """None for a column of text."""
    higher_is_better: bool | None = None
    """None if neither direction is better by itself."""
    task: str = ""
    """The task, for the column of a task's score."""
    marks_best: bool = False
    """Whether the best of comparable rows is highlighted; not for sizes, which are chosen and not achieved."""

    @property
    def title_with_unit(self) -> str:
        """Title, with the unit."""
        if not self.unit:
            return self.title
        return f"{self.title[:-1]}, {self.unit})" if self.title.endswith(")") else f"{self.title} ({self.unit})"

    @property
    def heading(self) -> str:
        """Text in the head of a table, with an arrow in the better direction."""
        return f"{self.title_with_unit}{ARROWS[self.higher_is_better]}"

    @property
    def is_text(self) -> bool:
        """Whether its cells are text."""
        return self.decimals is None


MODEL = Column("model", "model", decimals=None)
IDENTITY = (
    MODEL,
    Column("compressor", "compressor", decimals=None),
    Column("teacher", "teacher", decimals=None),
)
PARAMS = Column("params", "params", "M", 1e6)
SPARSITY = Column("sparsity", "sparsity", "%", 0.01, 1)
SIZE = Column("size_bytes", "size", "MB", 1e6, 1)
MACS = Column("macs", "MACs", "G", 1e9, 1)
MACS_SUPERB = Column("macs_superb", "MACs (SUPERB)", "G", 1e9, 1)
RTF = Column("rtf", "RTF", decimals=4, higher_is_better=False)
NUM_SEEDS = Column(SEEDS, SEEDS, decimals=0)
SCORES = tuple(
    Column(key, title, decimals=1 if key == "relative_score" else 0, higher_is_better=True, marks_best=True)
    for key, title in OVERALL_TITLES.items()
)

KNOWN = {one.key: one for one in (*IDENTITY, PARAMS, SPARSITY, SIZE, MACS, MACS_SUPERB, RTF, *SCORES, NUM_SEEDS)}
"""Columns that are not about one task, by their keys."""


def columns_of(
    table: pd.DataFrame, metrics: Mapping[str, Sequence[Metric]], *, by_superb: bool, ranks_relative: bool = True
) -> tuple[Column, ...]:
    """Choose the columns that a report shows; columns without any figure are left out.

    Args:
        table: the leaderboard.
        metrics: each task's primary metrics.
        by_superb: whether MACs are those of SUPERB's official profiler, as for published rows, or the plain count.
        ranks_relative: whether relative scores are all on one scale, so that one of them can be the best.
    """
    bytes_on_disk = (SIZE,) if has_reduced_weights(table) else ()
    size = (PARAMS, SPARSITY, *bytes_on_disk, MACS_SUPERB if by_superb else MACS, RTF)
    relative, *superb = SCORES
    failed = {task for _, row in table.iterrows() for task in tasks_that_failed(row)}
    seeds = (NUM_SEEDS,) if SEEDS in table and (table[SEEDS] > 1).any() else ()
    relative = replace(relative, marks_best=ranks_relative)
    wanted = (*IDENTITY, *size, *task_columns(metrics), relative, *superb, *seeds)
    return tuple(
        column
        for column in wanted
        if column.key == "model" or (column.key in table and table[column.key].notna().any()) or column.task in failed
    )


def has_reduced_weights(table: pd.DataFrame) -> bool:
    """Return whether the bytes add information to the parameters: some weights take fewer than float32's four bytes."""
    if "size_bytes" not in table:
        return False
    parameters = table["params"].where(table["params"] > 0)
    return bool((table["size_bytes"] / parameters < FLOAT32_BYTES).any())


def task_columns(metrics: Mapping[str, Sequence[Metric]]) -> list[Column]:
    """Make the columns of tasks' scores, in the order of tasks."""
    return [
        Column(
            key=f"{task}_{metric.name}",
            task=task,
            title=score_title(task, metric.name),
            unit="%",
            higher_is_better=metric.higher_is_better,
            marks_best=True,
        )
        for task in in_order(metrics)
        for metric in metrics[task]
    ]
