"""Which hidden states each task uses: the layer weights that its heads learned, below the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.leaderboard.comparable import comparable
from bench.leaderboard.shown_scores import SETTING
from bench.leaderboard.titles import in_order, task_title
from bench.reports.plots import canvas
from bench.reports.plots.canvas import Options
from bench.reports.plots.scores import boards_of, by_setting, setting_label
from bench.reports.plots.sources import Source
from bench.reports.plots.writing import NothingToDrawError, Plot

SETTINGS_KEY = "layer_weights"
"""Key in a record's settings."""


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure per model, with its teacher above it.

    Raises:
        NothingToDrawError: no record has layer weights.
    """
    table = layer_weights_table(sources)
    if table.empty:
        raise NothingToDrawError(
            f"Expected records with {SETTINGS_KEY}, for the plot layer-weights. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Evaluate again with this version."
        )
    return [
        Plot(name if student is None else f"{name}-{student}", rows, draw)
        for name, part in by_setting(table, "layer-weights")
        for student, rows in _with_teacher(part)
    ]


def layer_weights_table(sources: Sequence[Source]) -> pd.DataFrame:
    """List the weights: one row per model, task and hidden state, averaged over the seeds.

    Returns:
        Columns ``run``, ``is_teacher``, ``label`` (of the model), ``setting``, `SETTING`, ``task``, ``hidden_state``
        from 0, ``weight``, ``weight_std`` (sample standard deviation over the seeds, empty for one), ``num_seeds``.
    """
    settings = {board.name: n for n, kin in enumerate(comparable(boards_of(sources)), 1) for board in kin.boards}
    several = len({source.path for source in sources}) > 1
    rows = [
        {
            "run": source.name,
            "is_teacher": record.cell.model == source.teacher_row,
            "label": f"{source.name}/{record.cell.model}" if several else record.cell.model,
            "setting": settings[source.name],
            **{key: getattr(record, key) for key in SETTING},
            "task": record.cell.task,
            "hidden_state": state,
            "weight": weight,
        }
        for source in sources
        if source.board is not None
        for record in source.board.records
        for state, weight in enumerate(record.settings.get(SETTINGS_KEY, ()))
    ]
    key = ["run", "is_teacher", "label", "setting", *SETTING, "task", "hidden_state"]
    table = pd.DataFrame(rows, columns=[*key, "weight"])
    grouped = table.groupby(key, sort=False)["weight"]
    weights = grouped.agg(weight="mean", weight_std="std", num_seeds="count").reset_index()
    weights["is_teacher"] = weights["is_teacher"].astype(bool)
    place = {task: index for index, task in enumerate(in_order(weights["task"]))}
    order = weights.assign(later=~weights["is_teacher"], place=weights["task"].map(place)).sort_values(
        ["later", "label", "place", "hidden_state"]
    )
    return order.drop(columns=["later", "place"]).reset_index(drop=True)


def _with_teacher(table: pd.DataFrame) -> list[tuple[str | None, pd.DataFrame]]:
    """Split a table into one per student, each with its teacher's rows; without students, keep the teachers."""
    teachers, students = table[table["is_teacher"]], table[~table["is_teacher"]]
    if students.empty:
        return [(None, teachers)]
    return [
        (str(label), pd.concat([teachers[teachers["run"] == rows["run"].iloc[0]], rows], ignore_index=True))
        for label, rows in students.groupby("label", sort=False)
    ]


def draw(table: pd.DataFrame, options: Options) -> Figure:
    """Draw one panel per model, with one row per task and one column per hidden state.

    Args:
        table: from `layer_weights_table`, of one setting.
        options: of the figure.
    """
    models = list(dict.fromkeys(table["label"]))
    tasks = list(dict.fromkeys(table["task"]))
    num_states = int(table["hidden_state"].max()) + 1
    figure, axes = canvas.panels(
        len(models), options, columns=1, aspect=0.048 * len(tasks) + 0.075, extra_in=0.35, sharex=True
    )
    darkest = float(table["weight"].max())
    image = None
    for panel, model in zip(axes, models, strict=True):
        grid = np.full((len(tasks), num_states), np.nan)
        for row in table[table["label"] == model].itertuples():
            grid[tasks.index(row.task), row.hidden_state] = row.weight
        image = panel.pcolormesh(
            np.arange(num_states + 1) - 0.5,
            np.arange(len(tasks) + 1) - 0.5,
            np.ma.masked_invalid(grid),
            cmap="cividis",
            vmin=0,
            vmax=darkest,
            edgecolors="white",
            linewidth=0.5,
        )
        panel.invert_yaxis()
        panel.set_yticks(range(len(tasks)), [canvas.name(task_title(task)) for task in tasks])
        panel.set_title(canvas.name(model))
        panel.grid(visible=False)
        panel.tick_params(length=0)
        for spine in panel.spines.values():
            spine.set_visible(False)
    axes[-1].set_xticks(range(0, num_states, 1 if num_states <= 13 else 2))
    axes[-1].set_xlabel("hidden state (0: input of the first layer)")
    if image is not None:
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30, fraction=0.04)
        bar.set_label("weight")
        bar.outline.set_visible(False)
    canvas.mark(figure, options, setting_label(table))
    return figure
