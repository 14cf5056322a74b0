"""Accepts names in any case: ``KS`` means ``ks``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import registry
from bench.config.row_names import NO_COMPRESSOR
from bench.terminal.choices import spelled


def spelled_compressor(text: str) -> str:
    """Correct the case of ``compressor``, ``row=compressor`` and stacks (``one+other``). Row names are not changed."""
    from bench.stacking.names import SEPARATOR

    row, equals, stack = text.rpartition("=")
    names = [NO_COMPRESSOR, *registry.names("bench.compressors")]
    return row + equals + SEPARATOR.join(spelled(part, names) for part in stack.split(SEPARATOR))


def spelled_data(choice: str) -> str:
    """Correct the case of embedded corpora's names. File names are not changed."""
    return choice if Path(choice).exists() else spelled(choice, registry.names("bench.corpora"))


def spelled_assignments(assignments: Sequence[str]) -> list[str]:
    """Correct the case of the compressor or task at the start of each ``--set`` key."""
    return [_spelled_key(assignment) for assignment in assignments]


def _spelled_key(assignment: str) -> str:
    key, equals, value = assignment.partition("=")
    head, dot, rest = key.partition(".")
    head = spelled(head, ["tasks", *registry.names("bench.compressors")]) if dot else head
    if head == "tasks":
        task, *below = rest.split(".")
        rest = ".".join([spelled(task, registry.names("bench.tasks")), *below])
    return head + dot + rest + equals + value
