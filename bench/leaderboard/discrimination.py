"""Which tasks of the embedded corpora separate a badly compressed model from its teacher.

``discrimination.csv`` has one row per task, measured by ``benchmarks/discrimination.py``: the number of standard errors
by which 90 % one-shot magnitude pruning falls below its teacher.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from functools import cache
from importlib.resources import files

from bench.leaderboard.titles import in_order

COLUMNS = ("data", "teacher", "task", "standard_errors")
NEEDED = 5.0
"""Standard errors from which on a task counts as separating."""


@cache
def measured() -> dict[tuple[str, str], float]:
    """Map data and task to the standard errors that were measured with the embedded teacher."""
    text = files("bench.leaderboard").joinpath("discrimination.csv").read_text(encoding="utf-8")
    return {(row["data"], row["task"]): float(row["standard_errors"]) for row in csv.DictReader(text.splitlines())}


def discrimination_note(data: str, tasks: Collection[str]) -> str:
    """Name the tasks that do not separate good compression from bad on these data; empty if none is known.

    Args:
        data: identity of the data, as in records.
        tasks: of the table.
    """
    weak = [task for task in in_order(tasks) if measured().get((data, task), NEEDED) < NEEDED]
    if not weak:
        return ""
    found = ", ".join(f"{task} ({measured()[data, task]:.1f} standard errors)" for task in weak)
    return (
        f"Not able to separate 90 % one-shot pruning from its teacher by {NEEDED:g} standard errors on these data: "
        f"{found}. See docs/embedded.md."
    )
