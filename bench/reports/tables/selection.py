"""The columns and names that the user asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench import registry
from bench.errors import UserError
from bench.registry import nearest
from bench.reports.tables.columns import KNOWN, MODEL, Column, task_columns
from bench.reports.tables.leaderboards import Group


def with_names(group: Group, names: Mapping[str, str]) -> Group:
    """Give methods, rows and columns other names.

    Args:
        group: the rows.
        names: of methods, rows and columns (their names in the CSV), to what readers see instead.
    """
    columns = tuple(replace(one, title=names[one.key], unit="") if one.key in names else one for one in group.columns)
    return replace(group, names=names, columns=columns)


def with_columns(groups: Sequence[Group], keys: Sequence[str]) -> list[Group]:
    """Show the models and these columns, in this order. A group leaves out those that it does not have.

    Args:
        groups: the tables.
        keys: names of columns of the CSV.

    Raises:
        UserError: no group has a column of this name.
    """
    known = list(dict.fromkeys(str(name) for group in groups for name in group.table))
    for key in keys:
        if key not in known:
            raise UserError(f"--columns: no table has a column {key!r}. {nearest(key, known)}")
    wanted = dict.fromkeys((MODEL.key, *keys))
    return [
        replace(group, columns=tuple(_column(group, key) for key in wanted if key in group.table)) for group in groups
    ]


def _column(group: Group, key: str) -> Column:
    shown = {column.key: column for column in group.columns} | {MODEL.key: MODEL}
    return shown.get(key) or KNOWN.get(key) or _score(key) or _plain(group, key)


def _score(key: str) -> Column | None:
    """Return the column of a metric that is not a primary one."""
    tasks = [task for task in registry.names("bench.tasks") if key.startswith(f"{task}_")]
    found = task_columns({task: registry.load("bench.tasks", task).metrics for task in tasks})
    return next((column for column in found if column.key == key), None)


def _plain(group: Group, key: str) -> Column:
    values = group.table[key].dropna()
    is_number = all(isinstance(value, int | float) for value in values)
    decimals = None if not is_number else 0 if all(value == int(value) for value in values) else 2
    return Column(key, key.replace("_", " "), decimals=decimals)
