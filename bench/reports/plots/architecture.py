"""What compression left of each layer: channels, heads, feed-forward widths and ranks, next to the teacher's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from bench.errors import UserError
from bench.reports.plots import canvas
from bench.reports.plots.canvas import Options
from bench.reports.plots.series import COLORS, QUIET_COLOR
from bench.reports.plots.sources import SavedModel, Source
from bench.reports.plots.writing import NothingToDrawError, Plot

if TYPE_CHECKING:
    from bench.upstream import UpstreamConfig

logger = logging.getLogger(__name__)

CONVOLUTION = "convolution channels"
HEADS = "attention heads"
FEED_FORWARD = "feed-forward width"
PARTS = (CONVOLUTION, HEADS, FEED_FORWARD)
RANKS = {"attention ranks": "attention", "feed-forward ranks": "feed_forward"}
"""Parts that only low-rank models have: name of the part to the block whose linear layers' ranks are summed."""
PANELS_A_ROW = 3
"""Panels in a row of a page-wide figure."""


def plots(sources: Sequence[Source]) -> list[Plot]:
    """Make one figure per compressed model.

    Raises:
        NothingToDrawError: no model is saved in the folders.
    """
    found = [_plot(source, model, len(sources) > 1) for source in sources for model in source.models]
    if not found:
        raise NothingToDrawError(
            f"Expected compressed models, for the plot architecture. Found none in "
            f"{', '.join(str(source.path) for source in sources)}. Name a run that compresses."
        )
    return found


def kept_units_table(shape: UpstreamConfig, teacher: UpstreamConfig | None) -> pd.DataFrame:
    """List the units of each layer.

    Args:
        shape: of the model.
        teacher: its teacher's shape; if None, the teacher's columns are empty.

    Returns:
        One row per layer that the model or the teacher has: ``part`` (of `PARTS`, and of `RANKS` for low-rank models),
            ``layer`` from 1, numbers of units ``kept`` and ``teacher``, and for heads their indices from 0, separated
            by spaces, in ``kept_heads`` and ``teacher_heads``.
    """
    rows = []
    for part in (*PARTS, *(RANKS if _is_low_rank(shape) else ())):
        mine, others = _units(shape, part), _units(teacher, part) if teacher else []
        my_heads = _heads(shape) if part == HEADS else []
        other_heads = _heads(teacher) if part == HEADS and teacher else []
        for layer in range(max(len(mine), len(others))):
            rows.append(
                {
                    "part": part,
                    "layer": layer + 1,
                    "kept": _at(mine, layer, 0),
                    "teacher": _at(others, layer, None),
                    "kept_heads": _at(my_heads, layer, ""),
                    "teacher_heads": _at(other_heads, layer, ""),
                }
            )
    return pd.DataFrame(rows).astype({"kept": "Int64", "teacher": "Int64"})


def draw(table: pd.DataFrame, options: Options) -> Figure:
    """Draw one panel per part, with layers from left to right.

    Args:
        table: from `kept_units_table`, with ``model`` and ``teacher_model``.
        options: of the figure.
    """
    parts = changed_parts(table)
    if options.is_wide:
        counts = [int((table["part"] == part).sum()) for part in parts]
        widest = [max(counts[column::PANELS_A_ROW]) for column in range(min(PANELS_A_ROW, len(parts)))]
        figure, axes = canvas.panels(
            len(parts), options, columns=PANELS_A_ROW, aspect=0.7 if len(parts) > 1 else 0.3, width_ratios=widest
        )
    else:
        figure, axes = canvas.panels(len(parts), options, columns=1, aspect=0.29)
    for panel, part in zip(axes, parts, strict=True):
        rows = table[table["part"] == part]
        color = _color(table, options)
        if part == HEADS:
            _draw_heads(panel, rows, color)
        else:
            _draw_widths(panel, rows, color)
        panel.set_title(_title(part, rows))
        shown = rows["layer"][:: 2 if len(rows) > 12 else 1]
        panel.set_xticks(shown, [str(layer) for layer in shown])
        panel.tick_params(axis="x", length=0)
        panel.set_xlim(0.4, len(rows) + 0.6)
        if options.is_wide or part == parts[-1]:
            panel.set_xlabel("layer")
    handles = [Patch(facecolor=_color(table, options), edgecolor="black", linewidth=0.4)]
    labels = [str(table["label"].iloc[0])]
    if table["teacher"].notna().any():
        handles.append(Patch(facecolor="none", edgecolor=QUIET_COLOR, linewidth=0.7))
        labels.append(str(table["teacher_model"].iloc[0]))
    canvas.legend(figure, handles, labels, columns=2)
    unchanged = [part for part in table["part"].unique() if part not in parts]
    if unchanged:
        canvas.mark(figure, options, f"all kept: {', '.join(unchanged)}")
    return figure


def changed_parts(table: pd.DataFrame) -> list[str]:
    """List the parts of which the model lost something; all parts if the teacher is unknown or nothing was lost."""
    triples = zip(table["part"], table["kept"], table["teacher"], strict=True)
    changed = [str(part) for part, kept, others in triples if pd.isna(others) or kept != others]
    return list(dict.fromkeys(changed or table["part"]))


def _color(table: pd.DataFrame, options: Options) -> str:
    method = table["compressor"].iloc[0]
    return options.looks[method].color if method in options.looks else COLORS[0]


def _plot(source: Source, model: SavedModel, is_one_of_many: bool) -> Plot:
    shape = model.manifest.shape
    reference = source.teacher or model.manifest.provenance.get("teacher")
    teacher = _teacher_shape(reference)
    table = kept_units_table(shape, teacher).assign(
        label=model.name,
        compressor=str(model.manifest.provenance.get("compressor")),
        teacher_model=_short(reference),
    )
    place = f"{source.name}-{model.name}" if is_one_of_many and source.name != model.name else model.name
    return Plot(f"architecture-{place}", table, draw)


def _teacher_shape(reference: Any) -> UpstreamConfig | None:
    from bench.upstream.reference import reference_config

    if not isinstance(reference, str):
        return None
    try:
        return reference_config(reference)
    except UserError as error:
        logger.warning("architecture: drawn without the teacher's outline. %s", error)
        return None


def _short(reference: Any) -> str:
    return Path(reference).name if isinstance(reference, str) else ""


def _units(shape: UpstreamConfig, part: str) -> list[int]:
    if part == CONVOLUTION:
        return [layer.channels for layer in shape.conv_layers]
    if part == HEADS:
        return [len(layer.heads) for layer in shape.layers]
    if part in RANKS:
        return _ranks(shape, RANKS[part])
    return [layer.feed_forward for layer in shape.layers]


def _is_low_rank(shape: UpstreamConfig) -> bool:
    return any(reduced.rank is not None for _, reduced in shape.reduced_linears)


def _ranks(shape: UpstreamConfig, block: str) -> list[int]:
    """Sum the ranks of each layer's linear layers; a dense layer counts with its full rank."""
    reduced = dict(shape.reduced_linears)
    ranks = [0] * len(shape.layers)
    for module, size in shape.linear_sizes.items():
        path = module.split(".")
        if path[0] == "layers" and path[2] == block:
            rank = reduced[module].rank if module in reduced else None
            ranks[int(path[1])] += min(size) if rank is None else rank
    return ranks


def _heads(shape: UpstreamConfig) -> list[str]:
    return [" ".join(map(str, sorted(layer.heads))) for layer in shape.layers]


def _at(values: Sequence[Any], index: int, default: Any) -> Any:
    return values[index] if index < len(values) else default


def _draw_widths(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    layers = rows["layer"]
    if rows["teacher"].notna().any():
        outline = rows["teacher"].fillna(0).astype(int)
        axes.bar(layers, outline, 0.8, facecolor="none", edgecolor=QUIET_COLOR, linewidth=0.7)
    axes.bar(layers, rows["kept"].astype(int), 0.8, color=color, edgecolor="black", linewidth=0.4)


def _draw_heads(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    """Draw one box per head: the teacher's outlined, the kept ones filled."""
    _draw_boxes(axes, rows, "teacher_heads", "none", QUIET_COLOR, 0.7)
    _draw_boxes(axes, rows, "kept_heads", color, "black", 0.4)
    heads = [int(head) for heads in [*rows["kept_heads"], *rows["teacher_heads"]] for head in heads.split()]
    num_heads = max(heads, default=0) + 1
    axes.set_ylim(0.4, num_heads + 0.6)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(visible=False)
    axes.set_ylabel("head")


def _draw_boxes(axes: Axes, rows: pd.DataFrame, column: str, fill: str, edge: str, line_width: float) -> None:
    boxes = [
        Rectangle((layer - 0.4, int(head) + 0.6), 0.8, 0.8)
        for layer, heads in zip(rows["layer"], rows[column], strict=True)
        for head in heads.split()
    ]
    axes.add_collection(PatchCollection(boxes, facecolor=fill, edgecolor=edge, linewidth=line_width))


def _title(part: str, rows: pd.DataFrame) -> str:
    kept, others = int(rows["kept"].sum()), rows["teacher"]
    return f"{part}\n{kept:,}" + (f" of {int(others.sum()):,}" if others.notna().any() else "")
