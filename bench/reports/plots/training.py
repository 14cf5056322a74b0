"""Training curves of compression: loss, sparsity, multipliers and learning rate over the updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.errors import UserError
from bench.reports.plots import canvas
from bench.reports.plots.canvas import Options, plain_numbers
from bench.reports.plots.series import look
from bench.reports.plots.sources import HISTORY, Source
from bench.reports.plots.writing import NothingToDrawError, Plot
from bench.text import shortened

FIRST_LINE = 2
"""Line number of a CSV's first row below the header."""
LARGEST = 1e30
"""Larger numbers mean a damaged file."""
LONGEST_HEAD = 10_000
"""Largest size of a CSV's header, in bytes."""
MOST_LINES = 1_000_000
MOST_CURVES = 24
"""Further columns of a CSV are not drawn."""
REMEDY = "Delete the file: the figure of this training is then left out."
X = "update_in_all"
"""Updates counted over all stages."""
MOST_NAMED_STAGES = 2
"""Up to so many stages are named above a panel; more get numbers, because their names do not fit."""
LEGEND_LINE = 0.15
"""Height of one legend entry, as a share of a panel's."""


OUTSIDE = ("stage", "update", "gradient_norm")
"""Columns that are not drawn."""
FIRST_PANEL = "loss"
LAST_PANEL = "learning rate"


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
            f"Expected {HISTORY} in the folder of a model, for the plot training. Found none in "
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
    drawn = [str(column) for column in cells if column not in OUTSIDE][:MOST_CURVES]
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


def panels(columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Group the columns of a history into panels by the last word of their names, without a number at its end.

    Returns:
        Title of a panel to its columns and their labels: ``expected_sparsity`` is "expected" in the panel "sparsity".
    """
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        before, _, last = column.rpartition("_")
        panel = last.rstrip("0123456789") or last
        title, label = ("learning rate", column) if column == "learning_rate" else (panel, before or column)
        found.setdefault(title, {})[column] = label.replace("_", " ")
    ends = {FIRST_PANEL: -1, LAST_PANEL: 1}
    return dict(sorted(found.items(), key=lambda item: ends.get(item[0], 0)))


def draw(table: pd.DataFrame, options: Options) -> Figure:
    """Draw one panel per group of curves that the history has."""
    shown = panels([str(column) for column in table if column not in (*OUTSIDE, X)])
    columns = min(len(shown), 4 if options.is_wide else 2)
    figure, axes = canvas.panels(len(shown), options, columns=columns, aspect=0.72, sharex=True)
    for axis, (title, curves) in zip(axes, shown.items(), strict=True):
        _draw_panel(axis, title, curves, table)
    for axis in axes[-columns:]:
        axis.set_xlabel("updates")
        axis.tick_params(labelbottom=True)
    stages = list(table["stage"].unique())
    if len(stages) > MOST_NAMED_STAGES:
        canvas.mark(figure, options, "stages: " + ", ".join(f"{n} {stage}" for n, stage in enumerate(stages, 1)))
    return figure


def _draw_panel(axes: Axes, title: str, curves: Mapping[str, str], table: pd.DataFrame) -> None:
    for index, (column, label) in enumerate(curves.items()):
        rows = table[[X, column]].dropna()
        axes.plot(
            rows[X], rows[column], color=look(index).color, linestyle=look(index).line_style, linewidth=1.0, label=label
        )
    axes.set_ylabel(title if len(curves) > 1 else next(iter(curves)).replace("_", " "))
    axes.yaxis.set_major_formatter(plain_numbers)
    if len(curves) > 1:
        # Space above the curves for the legend, which must not cover them.
        low, high = axes.get_ylim()
        axes.set_ylim(low, low + (high - low) / (1 - LEGEND_LINE * len(curves)))
        axes.legend(loc="upper right", fontsize=6, handlelength=2.2, borderpad=0.1)
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
