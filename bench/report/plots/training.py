"""Training curves of compression: loss, sparsity, multipliers and learning rate over the updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter

from bench.errors import UserError
from bench.report.plots import canvas
from bench.report.plots.series import LINE_STYLES, series
from bench.report.plots.sources import HISTORY, Source
from bench.report.plots.writing import NothingToDrawError, Plot
from bench.text import shortened

FIRST_LINE = 2
"""Line number of a CSV's first row below the header."""
LARGEST = 1e30
"""Larger numbers mean a damaged file."""
LONGEST_HEAD = 10_000
"""Largest size of a CSV's header, in bytes."""
MOST_LINES = 1_000_000
REMEDY = "Delete the file: the figure of this training is then left out."
X = "update_in_all"
"""Updates counted over all stages."""
MOST_NAMED_STAGES = 2
"""Up to so many stages are named above a panel; more get numbers, because their names do not fit."""
LEGEND_LINE = 0.15
"""Height of one legend entry, as a share of a panel's."""


class Panel(NamedTuple):
    """Curves that share an axis: column of ``training.csv`` to its label."""

    title: str
    curves: dict[str, str]
    is_crowded: bool = False
    """Whether the curves leave no room for a legend inside the panel, so that it goes above."""


PANELS = (
    Panel(
        "loss",
        {"loss": "total", "distillation": "distillation", "masked_loss": "masked", "unmasked_loss": "unmasked"},
        is_crowded=True,
    ),
    Panel(
        "sparsity",
        {"expected_sparsity": "expected", "target_sparsity": "target", "hardened_sparsity": "after hardening"},
    ),
    Panel("multipliers", {"lambda1": "linear", "lambda2": "quadratic"}),
    Panel("accuracy", {"masked_accuracy": "masked", "unmasked_accuracy": "unmasked"}, is_crowded=True),
    Panel("learning rate", {"learning_rate": "learning rate"}),
)


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure per trained model.

    Raises:
        NothingToDrawError: no model has a history next to its weights.
        UserError: a history is torn.
    """
    found = []
    for source in sources:
        for model in source.models:
            path = model.path / HISTORY
            if path.is_file():
                place = f"{source.name}-{model.name}" if len(sources) > 1 and source.name != model.name else model.name
                found.append(Plot(f"training-{place}", training_table(path), draw))
    if not found:
        raise NothingToDrawError(
            f"Expected {HISTORY} beside a model, for the plot training. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Name a run that trains."
        )
    return found


def training_table(path: Path) -> pd.DataFrame:
    """Read a history: the columns to draw, and the updates counted over all stages.

    Raises:
        UserError: stages, updates or losses are missing, or a cell is not a finite number; the message names the line.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"Expected a table of training in {path}. Found a folder, pipe or device. {REMEDY}")
    curves = [column for panel in PANELS for column in panel.curves]
    try:
        with path.open("rb") as file:
            if len(file.readline(LONGEST_HEAD + 1)) > LONGEST_HEAD:
                raise UserError(f"Expected the columns of a training in line 1 of {path}. Found too many. {REMEDY}")
        # As text, because one damaged cell would turn its whole column into text.
        cells = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, nrows=MOST_LINES)
    except (OSError, ValueError) as error:  # Covers pandas' parser errors and bytes that are not UTF-8.
        why = shortened(str(error), 100)
        raise UserError(f"Expected a table of training in {path}. It cannot be read ({why}). {REMEDY}") from error
    if cells.empty or not {"stage", "update", "loss"} <= set(cells.columns):
        raise UserError(f"Expected the columns stage, update and loss in {path}. Found others or no rows. {REMEDY}")
    drawn = [column for column in curves if column in cells]
    history = cells[["stage"]].assign(**{column: _numbers(cells[column], path) for column in ("update", *drawn)})
    for column in ("update", "loss"):
        if history[column].isna().any():
            line = int(history[column].isna().to_numpy().argmax()) + FIRST_LINE
            raise UserError(f"Expected a number as {column} in {path}, line {line}. Found nothing. {REMEDY}")
    lengths = history.groupby("stage", sort=False)["update"].max()
    before = lengths.cumsum().shift(fill_value=0)
    table = history[["stage", "update"]].assign(**{X: history["update"] + history["stage"].map(before)})
    return table.join(history[[column for column in drawn if history[column].notna().any()]])


def _numbers(cells: pd.Series[str], path: Path) -> pd.Series[float]:
    """Read the cells of a column as finite numbers no larger than a figure can show, NaN where they are empty."""
    numbers = pd.to_numeric(cells.where(cells != ""), errors="coerce")
    wrong = (cells != "") & ~(numbers.abs() < LARGEST)
    if wrong.any():
        place = int(wrong.to_numpy().argmax())
        found = shortened(repr(str(cells.iloc[place])), 40)
        raise UserError(
            f"Expected a finite number as {shortened(str(cells.name), 40)} in {path}, line {place + FIRST_LINE}. "
            f"Found {found}. {REMEDY}"
        )
    return numbers


def draw(table: pd.DataFrame, width_in: float) -> Figure:
    """Draw one panel per group of curves that the history has.

    Args:
        table: from `training_table`.
        width_in: of the figure.
    """
    shown = [panel for panel in PANELS if any(column in table for column in panel.curves)]
    is_wide = width_in > canvas.WIDTHS_IN["column"] + 1
    columns = min(len(shown), 4 if is_wide else 2)
    figure, axes = canvas.panels(len(shown), width_in, columns=columns, aspect=0.72, extra_in=0.25, sharex=True)
    for axis, panel in zip(axes, shown, strict=True):
        _draw_panel(axis, panel, table)
    for axis in axes[-columns:]:
        axis.set_xlabel("updates")
        axis.tick_params(labelbottom=True)
    stages = list(table["stage"].unique())
    if len(stages) > MOST_NAMED_STAGES:
        canvas.mark(figure, "stages: " + ", ".join(f"{number} {stage}" for number, stage in enumerate(stages, 1)))
    return figure


def _draw_panel(axes: Axes, panel: Panel, table: pd.DataFrame) -> None:
    curves = {column: label for column, label in panel.curves.items() if column in table}
    for index, (column, label) in enumerate(curves.items()):
        rows = table[[X, column]].dropna()
        axes.plot(
            rows[X], rows[column], color=series(index).color, linestyle=LINE_STYLES[index], linewidth=1.0, label=label
        )
    axes.set_ylabel(panel.title)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: Formatter.fix_minus(f"{value:g}")))
    if len(curves) > 1:
        if panel.is_crowded:
            low, high = axes.get_ylim()
            axes.set_ylim(low, low + (high - low) / (1 - LEGEND_LINE * len(curves)))
        axes.legend(
            loc="upper right" if panel.is_crowded else "best",
            fontsize=6,
            handlelength=2.2,
            frameon=True,
            edgecolor="none",
            borderpad=0.1,
        )
    _mark_stages(axes, table)


def _mark_stages(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a line where each stage begins, with its name or number above its part of the axis."""
    stages = table.groupby("stage", sort=False)[X].agg(["min", "max"])
    ends = [0.0, *stages["max"]]
    axes.set_xlim(0, ends[-1])
    for end in ends[1:-1]:
        # Legends avoid single lines but not a line collection: the legend may cover these.
        axes.vlines(
            end, 0, 1, color="#8a8a8a", linewidth=0.6, linestyle=":", transform=axes.get_xaxis_transform(), zorder=1
        )
    if len(stages) < 2:
        return
    names = list(map(str, stages.index if len(stages) <= MOST_NAMED_STAGES else range(1, len(stages) + 1)))
    for begin, end, stage in zip(ends, ends[1:], names, strict=False):
        axes.text(
            (begin + end) / 2,
            1.02,
            canvas.name(stage),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=5.5,
            color="#606060",
        )
