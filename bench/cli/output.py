"""What the user sees: results on standard output, progress and logs on standard error."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

PIPE_WIDTH = 240
FIGURE = re.compile(r"([+-]?[\d,]+(\.\d+)?)?")
"""A number as tables print it, or none."""
OUR_LOGGERS = ("bench", "compressors", "tasks")


def quiet_libraries() -> None:
    """Let our own log lines through to standard error, and no library's."""
    debug = "--debug" in sys.argv
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(logging.NullHandler())
    for name in OUR_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
        logger.propagate = False
    if not debug:
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for worker processes
        logging.getLogger("lightning").setLevel(logging.ERROR)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def signed_percent(fraction: float) -> str:
    """Write a difference in percent, with its sign; what rounds to zero has no minus."""
    return f"{round(100 * fraction, 2) + 0.0:+.2f}"


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Print a table, one row a mapping; the first row's keys are the columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Names may have what rich takes for markup.
    table = Table(title=Text(title, style="table.title") if title else None)
    columns = list(rows[0]) if rows else []
    for column in columns:
        justify: Literal["left", "right"] = "right" if all(_is_figure(row.get(column)) for row in rows) else "left"
        table.add_column(Text(column), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if row.get(column) is None else str(row[column])) for column in columns))
    # Where the output is a file or a pipe there is no width to fit.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def _is_figure(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or FIGURE.fullmatch(str(value)) is not None


def model_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Shorten what compression tells of its models for the eye, in the leaderboard's units."""
    return [
        {
            "model": model["model"],
            "params (M)": f"{model['params'] / 1e6:.2f}",
            "MACs (G)": f"{model['macs'] / 1e9:.1f}",
            "sparsity": f"{model['sparsity']:.3f}",
        }
        for model in models
    ]


def leaderboard_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Shorten a leaderboard for the eye: sizes in millions, MACs in billions, scores with their spread."""
    rows = []
    for _, record in table.iterrows():
        row: dict[str, Any] = {"model": record["model"], "params (M)": f"{record['params'] / 1e6:.2f}"}
        row["size (MB)"] = "" if _missing(record["size_bytes"]) else f"{record['size_bytes'] / 1e6:.2f}"
        row["MACs (G)"] = "" if _missing(record["macs"]) else f"{record['macs'] / 1e9:.1f}"
        row["sparsity"] = "" if _missing(record["sparsity"]) else f"{record['sparsity']:.3f}"
        for column in _scores(table):
            row[_title(column)] = _score(record[column], record[f"{column}_std"])
        rows.append(row)
    return rows


def _scores(table: pd.DataFrame) -> list[str]:
    """List the columns of scores as reports order them: by task, and the one over all tasks last."""
    from bench.report.names import OVERALL_TITLES, in_order

    found = [name for name in table.columns if f"{name}_std" in table.columns and not table[name].isna().all()]
    tasks = in_order(name.split("_")[0] for name in found)
    return sorted(found, key=lambda name: (name in OVERALL_TITLES, tasks.index(name.split("_")[0])))


def _title(column: str) -> str:
    return "relative score" if column == "relative_score" else f"{column} (%)"


def _score(value: float, spread: float) -> str:
    if _missing(value):
        return ""
    return f"{value:.2f}" if _missing(spread) else f"{value:.2f} ± {spread:.2f}"


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
