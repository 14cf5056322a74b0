"""Groups utterances by speaker, label, duration, or any column of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.comparison.bootstrap import Floats
from bench.comparison.utterances import Utterance

LABEL = "label"
DURATION = "duration_s"
MIN_UTTERANCES = 5
"""Smaller groups are left out: so few utterances allow no conclusion."""
MAX_VALUES = 10
"""Columns of numbers with more distinct values are divided into ranges."""
NUM_RANGES = 4


@dataclass(frozen=True)
class Grouping:
    """Utterances grouped by the values of one column."""

    column: str
    members: Mapping[str, Sequence[int]]
    """Value, or range of numbers, to the positions of its utterances; in order."""


def group_utterances(utterances: Sequence[Utterance], columns: Sequence[str] | None = None) -> list[Grouping]:
    """Group utterances by every column with several values.

    Columns of numbers with many values (``snr_db``, ``duration_s``) become four ranges with as many utterances each.
    ``label``, ``speaker`` and columns that end in ``id`` are names even if they look like numbers. Groups of fewer than
    `MIN_UTTERANCES` are left out. So are columns with fewer than two groups and, unless they were requested, columns
    that give the same groups as an earlier one.

    Args:
        utterances: of one split.
        columns: some of `known_columns`, by default all; others are left out.
    """
    known = known_columns(utterances)
    chosen = [column for column in columns or known if column in known]
    groupings = [_grouping(column, [_value(one, column) for one in utterances]) for column in chosen]
    found: dict[frozenset[tuple[int, ...]] | str, Grouping] = {}
    for grouping in groupings:
        parts = frozenset(tuple(members) for members in grouping.members.values())
        if len(parts) > 1:
            found.setdefault(grouping.column if columns else parts, grouping)
    return list(found.values())


def known_columns(utterances: Iterable[Utterance]) -> list[str]:
    """List the columns to group by: columns of the data, ``label`` (the reference) and ``duration_s``."""
    return sorted({LABEL, DURATION}.union(*(utterance.columns for utterance in utterances)))


def _value(utterance: Utterance, column: str) -> object:
    if column in utterance.columns:
        return utterance.columns[column]
    return {LABEL: utterance.reference, DURATION: utterance.duration_s}.get(column)


def _grouping(column: str, values: Sequence[object]) -> Grouping:
    there = [index for index, value in enumerate(values) if value is not None and value != ""]
    numbers = None if _is_name(column) else _numbers([values[index] for index in there])
    if numbers is not None and len(set(numbers)) > MAX_VALUES:
        names = _range_names(np.array(numbers))
        order = list(dict.fromkeys(name for _, name in sorted(zip(numbers, names, strict=True))))
    else:
        names = [_name(values[index]) for index in there]
        order = sorted(set(names))
    members: dict[str, list[int]] = {name: [] for name in order}
    for index, name in zip(there, names, strict=True):
        members[name].append(index)
    return Grouping(column, {name: found for name, found in members.items() if len(found) >= MIN_UTTERANCES})


def _name(value: object) -> str:
    """Format a value; the parts of an intent are joined on one line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_name(column: str) -> bool:
    return column in (LABEL, "speaker") or column.lower().endswith("id")


def _numbers(values: Sequence[object]) -> list[float] | None:
    try:
        numbers = [float(str(value)) for value in values]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _range_names(numbers: Floats) -> list[str]:
    """Name the range of every number: four ranges with as many utterances each, as far as equal numbers allow."""
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, NUM_RANGES + 1)))
    ranges = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    return [f"{edges[index]:.4g} to {edges[index + 1]:.4g}" for index in ranges]
