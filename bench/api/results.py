"""The results of a run in Python: its table, comparisons and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

Split = Literal["test", "dev"]


@dataclass(frozen=True)
class Results:
    """A finished run."""

    table: pd.DataFrame
    """The leaderboard: one row per model, with parameters, MACs and the scores of each task in percent, averaged over
    seeds: the content of ``leaderboard.csv``, see docs/report.md."""
    folder: Path
    """The run's folder, which ``bench report``, ``bench plot`` and ``bench compare`` read."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """What failed, and why. The rest of the run is complete, and the same call tries these items again."""

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        return str(self.table.to_html(index=False))


def compare(results: Results | str | Path, *rows: str, split: Split = "test", by: str | None = None) -> pd.DataFrame:
    """Compare rows with the first one: which differences are real.

    Args:
        results: of a run, or its folder.
        rows: two rows or more; each is compared with the first one.
        split: of the utterances.
        by: resample the values of this column of the predictions, such as ``speaker``, instead of utterances.

    Returns:
        One row per metric: task, metric, both rows and their scores (fractions), the ``difference`` with its interval
        (``low``, ``high``) and ``standard_error`` (NaN if there are too few units), ``p_value``, ``p_holm``, ``better``
        and ``about``, which is ``methods`` if the interval covers other compressions too, otherwise ``these models``.

    Raises:
        UserError: there is no such row, or the rows cannot be compared.
    """
    from bench.comparison.compare import Comparison
    from bench.comparison.compare import compare as compare_rows
    from bench.comparison.rows import find_rows

    def as_row(found: Comparison) -> dict[str, object]:
        difference = found.difference
        return {
            "task": found.task,
            "metric": found.metric,
            "a": found.first,
            "b": found.other,
            "a_score": found.first_score.mean,
            "b_score": found.other_score.mean,
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
            "standard_error": difference.standard_error,
            "p_value": difference.p_value,
            "p_holm": found.p_holm,
            "better": found.better,
            "about": "methods" if found.is_about_methods else "these models",
        }

    folder = _folder(results)
    return pd.DataFrame([as_row(found) for found in compare_rows(find_rows(rows, folder, folder.parent), split, by)])


def report(
    results: Results | str | Path,
    format: Literal["csv", "md", "latex", "html"] = "md",
    split: Split = "test",
    *,
    with_published: bool = False,
) -> str:
    """Write the leaderboard as text.

    Args:
        results: of a run, or its folder.
        format: of the text; ``html`` is a whole page.
        split: of the scores.
        with_published: add the published results on SUPERB.

    Raises:
        UserError: the folder has no finished cells.
    """
    from bench.leaderboard.comparable import read_boards
    from bench.reports.tables.formats import FORMATS, page_writer
    from bench.reports.tables.leaderboards import report_groups
    from bench.terminal.choices import one_of

    chosen = one_of(format, (*FORMATS, "html"), "format")
    boards = read_boards([_folder(results)], split)
    groups = report_groups(boards, with_published=with_published)
    writer = page_writer(boards, split) if chosen == "html" else FORMATS[chosen][1]
    return writer(groups)


def _folder(results: Results | str | Path) -> Path:
    return results.folder if isinstance(results, Results) else Path(results)
