"""The state of every item of a work list, read from the run's folder and its locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.runs.work import Compress, Item
from bench.store.holders import Holder, holder_of
from bench.store.run_folder import RunFolder

Kind = Literal["done", "running", "failed", "ready", "blocked"]


@dataclass(frozen=True)
class State:
    """The progress of one item."""

    kind: Kind
    reason: str = ""
    """Why it failed, or what it waits for."""
    holder: Holder | None = None
    """Who works on it, if it is running."""


States = Mapping[Item, State]
"""Every item of a work list, in its order."""


def states_of(items: Sequence[Item], folder: RunFolder, reason: Callable[[Item], str | None]) -> dict[Item, State]:
    """Look up the state of every item.

    Args:
        items: a work list, in which every item comes after those that it needs.
        folder: of the run.
        reason: returns why an item failed; None if it did not.
    """
    found: dict[Item, State] = {}
    for item in items:
        found[item] = _state(item, folder, reason, found)
    return found


def _state(item: Item, folder: RunFolder, reason: Callable[[Item], str | None], before: States) -> State:
    # The result and the note are written before the claim is released, so the claim is looked at first.
    holder = holder_of(folder.lock_path(item.label))
    if item.is_done(folder):
        return State("done")
    if holder is not None:
        return State("running", holder=holder)
    missing = [need for need in item.needs if not _is_done(need, folder, before)]
    failed = [need for need in missing if need in before and before[need].kind == "failed"]
    if failed and isinstance(item, Compress):
        return State("failed", f"It begins with {failed[0].name}, which failed.")
    why = reason(item)
    if why is not None:
        return State("failed", why)
    if failed:
        return State("blocked", f"{failed[0].label} failed")
    return State("blocked", f"waits for {missing[0].label}") if missing else State("ready")


def _is_done(need: Item, folder: RunFolder, before: States) -> bool:
    """Whether an item is done. The leading part of a stack may be a row of an earlier call, which is not listed."""
    return before[need].kind == "done" if need in before else need.is_done(folder)
