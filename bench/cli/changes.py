"""``bench compare --changes``: what compression broke, as tables, JSON and a CSV of utterances."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.output import signed_percent
from bench.terminal.printing import print_json, print_rows
from bench.terminal.streams import print_line

if TYPE_CHECKING:
    from bench.comparison.changes import Changes, GroupChange
    from bench.comparison.rows import Row

logger = logging.getLogger(__name__)

INDEPENDENCE = (
    "All figures are about these very models, not about other compressions. "
    "Intervals and p-values take utterances as independent. Those of one speaker may change together: groups of few "
    "speakers stand out too easily."
)
MAX_GROUPS = 10
"""Most groups shown per task. JSON has all."""


def show_changes(rows: Sequence[Row], split: str, columns: str, out: Path | None, *, as_json: bool) -> None:
    """Print what changed from the first row to each other row.

    Args:
        rows: two or more.
        split: ``test`` or ``dev``.
        columns: columns to group by, comma-separated, or ``all``.
        out: CSV file for all utterances that changed.
        as_json: print JSON, with all groups.

    Raises:
        UserError: the rows cannot be compared, or a column is unknown.
    """
    from bench.comparison.changed_utterances import write_changed_utterances
    from bench.comparison.changes import find_changes
    from bench.leaderboard.collate import SMOKE
    from bench.leaderboard.notes import SMOKE_NOTE

    chosen = None if columns == "all" else [column.strip() for column in columns.split(",") if column.strip()]
    found = find_changes(rows, split, chosen)
    if out:
        num_utterances = write_changed_utterances(found, out)
        logger.info("%d utterances that changed are in %s", num_utterances, out)
    if as_json:
        print_json([_as_json(one, split) for one in found])
        return
    for one in found:
        shown = [one.overall, *one.groups[:MAX_GROUPS]]
        title = f"{one.task} {one.metric.name}, {split}, {one.first} (A) and {one.other} (B), in percent"
        print_rows([_for_the_eye(group) for group in shown], title)
        if len(one.groups) > MAX_GROUPS:
            print_line(f"{len(one.groups) - MAX_GROUPS} more groups with --json")
    if any(one.preset == SMOKE for one in found):
        print_line(SMOKE_NOTE)
    print_line("** lost more than the other utterances, beyond chance among all groups of the table")
    print_line(INDEPENDENCE)


def _for_the_eye(group: GroupChange) -> dict[str, Any]:
    difference = group.difference
    return {
        "group": f"{group.column} {group.value}".strip(),
        "utterances": group.num_utterances,
        "broken": group.num_broken,
        "mended": group.num_mended,
        "A": f"{100 * group.first_score:.2f}",
        "B": f"{100 * group.other_score:.2f}",
        "B - A": signed_percent(difference.value),
        "95 % interval": (
            f"{signed_percent(difference.low)} to {signed_percent(difference.high)}"
            if difference.has_interval
            else "too few utterances"
        ),
        "lost more by": signed_percent(group.lost_more_by) if group.column else "",
        "p": f"{group.p_value:.4f}" if group.column else "",
        "": "**" if group.stands_out else "",
    }


def _as_json(changes: Changes, split: str) -> dict[str, Any]:
    from bench.leaderboard.collate import SMOKE
    from bench.leaderboard.notes import SMOKE_NOTE

    return {
        "task": changes.task,
        "metric": changes.metric.name,
        "split": split,
        "a": changes.first,
        "b": changes.other,
        "seeds": list(changes.seeds),
        "independence": INDEPENDENCE,
        "note": SMOKE_NOTE if changes.preset == SMOKE else None,
        "overall": _group_as_json(changes.overall),
        "groups": [
            {
                "column": group.column,
                "value": group.value,
                **_group_as_json(group),
                "lost_more_by": group.lost_more_by,
                "p_value": group.p_value,
                "stands_out": group.stands_out,
            }
            for group in changes.groups
        ],
    }


def _group_as_json(group: GroupChange) -> dict[str, Any]:
    return {
        "num_utterances": group.num_utterances,
        "num_broken": group.num_broken,
        "num_mended": group.num_mended,
        "a_score": group.first_score,
        "b_score": group.other_score,
        "difference": group.difference.value,
        "interval": [group.difference.low, group.difference.high] if group.difference.has_interval else None,
    }
