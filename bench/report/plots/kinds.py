"""The available kinds of figures, drawn on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from bench.report.plots import architecture, bars, hours, layer_weights, pareto, training
from bench.report.plots.sources import Source, read_sources
from bench.report.plots.writing import NothingToDrawError, Plot, file_name, write_plot

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


def draw_plots(
    folders: Sequence[Path],
    kinds: Sequence[str],
    out: Path,
    width_in: float,
    *,
    skip_absent: bool,
    with_published: bool,
    tasks: Sequence[str] = (),
) -> list[dict[str, Path]]:
    """Draw figures and write them.

    Args:
        folders: of runs or models.
        kinds: keys of `KINDS`.
        out: folder to write to.
        width_in: of every figure.
        skip_absent: log kinds that have nothing to draw, instead of raising an error.
        with_published: draw published models too.
        tasks: the tasks to show and to average over; all if empty.

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
    names = _distinct_names(plots)
    return [write_plot(replace(plot, name=name), out, width_in) for plot, name in zip(plots, names, strict=True)]


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
