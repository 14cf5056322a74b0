"""The available kinds of figures, drawn on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from bench.reports.names import renamed
from bench.reports.plots import architecture, bars, hours, layer_weights, pareto, training
from bench.reports.plots.canvas import Options
from bench.reports.plots.series import looks_of
from bench.reports.plots.sources import Source, read_sources
from bench.reports.plots.writing import NothingToDrawError, Plot, file_name, write_plot

logger = logging.getLogger(__name__)

KINDS: Mapping[str, Callable[[Sequence[Source]], list[Plot]]] = MappingProxyType(
    {
        "pareto": pareto.plots,
        "bars": bars.plots,
        "architecture": architecture.plots,
        "training": training.plots,
        "layer-weights": layer_weights.plots,
        "hours": hours.plots,
    }
)


NAMES = ("model", "label", "compressor", "teacher_model")
"""Columns of the figures' data that `bench.reports.names.renamed` applies to."""


def draw_plots(
    folders: Sequence[Path],
    kinds: Sequence[str],
    out: Path,
    options: Options,
    *,
    skip_absent: bool,
    with_published: bool,
    tasks: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> list[dict[str, Path]]:
    """Draw figures and write them.

    Args:
        folders: of runs or models.
        kinds: keys of `KINDS`.
        out: folder to write to.
        options: how every figure is to look, except for the methods' looks.
        skip_absent: log kinds that have nothing to draw, instead of raising an error.
        with_published: draw published models too.
        tasks: the tasks to show and to average over; all if empty.
        names: of methods and rows, to what figures call them.

    Returns:
        For each figure, suffix to file.

    Raises:
        UserError: a folder holds neither run nor model, its files are torn, or there is nothing to draw.
    """
    sources = read_sources(folders, tasks)
    plots: list[Plot] = pareto.published_plots(sources) if with_published else []
    absent: NothingToDrawError | None = None
    for kind in kinds:
        try:
            plots += KINDS[kind](sources)
        except NothingToDrawError as error:
            if not skip_absent:
                raise
            logger.info("left out: %s", error)
            absent = error
    if not plots and absent is not None:
        raise absent
    names = names or {}
    methods = {str(method) for source in sources if source.board for method in source.board.table["compressor"]}
    looks = {renamed(method, names): look for method, look in looks_of(methods).items()}
    labels = options.labels | {renamed(label, names) for label in options.labels}
    options = replace(options, looks=looks, labels=labels)
    return [
        write_plot(Plot(name, _renamed(plot.data, names) if names else plot.data, plot.draw), out, options)
        for plot, name in zip(plots, _distinct_names(plots), strict=True)
    ]


def _renamed(data: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    columns = [column for column in NAMES if column in data]
    return data.assign(
        **{column: data[column].map(lambda text: renamed(str(text), names), na_action="ignore") for column in columns}
    )


def _distinct_names(plots: Sequence[Plot]) -> list[str]:
    """Name the files of all figures; names that become equal once made safe for file systems get a number."""
    taken: dict[str, int] = {}
    names = []
    for plot in plots:
        name = file_name(plot.name)
        # Compare in lower case, because some file systems ignore case.
        taken[name.lower()] = taken.get(name.lower(), 0) + 1
        number = taken[name.lower()]
        names.append(name if number == 1 else f"{name}-name{number}")
    return names
