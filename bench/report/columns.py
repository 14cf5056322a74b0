"""The columns of a report: what they are called, in which unit, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.contracts import Metric
from bench.score import SUPERB_ANCHORS

ACRONYMS = {"wer": "WER", "per": "PER", "eer": "EER", "der": "DER", "mtwv": "MTWV"}
METRIC_TITLES = {"accuracy": "acc.", "slot_type_f1": "F1", "slot_value_cer": "CER"}


@dataclass(frozen=True)
class Column:
    """One column of a report."""

    key: str
    """Its name in the table that it shows; ``<key>_std`` beside it is its standard deviation."""
    title: str
    unit: str = ""
    """Of the figures as shown."""
    scale: float = 1.0
    """What the table's figures are divided by to be shown."""
    decimals: int | None = 2
    """None for a column of text."""
    higher_is_better: bool | None = None
    """None where neither way is better by itself."""
    marks_best: bool = False
    """Whether the best of comparable rows stands out; sizes are what one has chosen."""

    @property
    def title_with_unit(self) -> str:
        """As in the head of a table, with an arrow to where it is better."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        return f"{self.title}{f' ({self.unit})' if self.unit else ''}{arrow}"

    @property
    def is_text(self) -> bool:
        """Whether its cells are text."""
        return self.decimals is None


IDENTITY = (
    Column("model", "model", decimals=None),
    Column("compressor", "compressor", decimals=None),
    Column("teacher", "teacher", decimals=None),
)
PARAMS = Column("params", "params", "M", 1e6)
MACS = Column("macs", "MACs", "G", 1e9, 1)
MACS_SUPERB = Column("macs_superb", "MACs", "G", 1e9, 1)
RTF = Column("rtf", "RTF", decimals=4, higher_is_better=False)
SCORES = (
    Column("relative_score", "relative", decimals=1, higher_is_better=True, marks_best=True),
    Column("superb6_score", "SUPERB-6", decimals=0, higher_is_better=True, marks_best=True),
    Column("superb_score", "SUPERB", decimals=0, higher_is_better=True, marks_best=True),
)


def columns_of(
    table: pd.DataFrame, metrics: Mapping[str, Sequence[Metric]], *, by_superb: bool, ranks_relative: bool = True
) -> tuple[Column, ...]:
    """Choose what a report shows of a leaderboard; columns without any figure are left out.

    Args:
        table: the leaderboard.
        metrics: each task's primary metrics.
        by_superb: whether MACs are those of SUPERB's official profiler, as for published rows, or the plain count.
        ranks_relative: whether relative scores have one scale, so that one of them can be the best.
    """
    size = (PARAMS, MACS_SUPERB if by_superb else MACS, RTF)
    relative, *superb = SCORES
    wanted = (*IDENTITY, *size, *_task_columns(metrics), replace(relative, marks_best=ranks_relative), *superb)
    return tuple(
        column
        for column in wanted
        if column.key == "model" or (column.key in table and table[column.key].notna().any())
    )


def _task_columns(metrics: Mapping[str, Sequence[Metric]]) -> list[Column]:
    """List the primary metrics, SUPERB's tasks first and in its order."""
    order = [*(task for task in SUPERB_ANCHORS if task in metrics), *sorted(set(metrics) - set(SUPERB_ANCHORS))]
    return [
        Column(
            key=f"{task}_{metric.name}",
            title=f"{'QbE' if task == 'qbe' else task.upper()} {_metric_title(metric.name)}",
            unit="%",
            higher_is_better=metric.higher_is_better,
            marks_best=True,
        )
        for task in order
        for metric in metrics[task]
    ]


def _metric_title(name: str) -> str:
    return METRIC_TITLES.get(name) or ACRONYMS.get(name) or name.replace("_", " ")
