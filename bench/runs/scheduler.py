"""Which item a process does next."""

from __future__ import annotations

from bench.runs.states import States
from bench.runs.work import Evaluate, Item


def next_item(states: States, last: Item | None = None) -> Item | None:
    """Choose the best item that is ready; None if no item is.

    The first of these rules that makes a difference decides:

    1. Items that unblock most others come first.
    2. Cells that share features with a running cell come last: they would wait for the same features.
    3. Cells of the model that this process has in memory come first.
    4. Items are done in the order of the work list.

    Args:
        states: of all items, in the order of the work list.
        last: the last item of this process.
    """
    ready = [item for item, state in states.items() if state.kind == "ready"]
    busy = {_features(item) for item, state in states.items() if state.kind == "running"} - {None}
    loaded = last.model if isinstance(last, Evaluate) else None

    def preference(item: Item) -> tuple[int, bool, bool]:
        is_loaded = isinstance(item, Evaluate) and item.model == loaded
        return _num_unblocked(item, states), _features(item) not in busy, is_loaded

    return max(ready, key=preference, default=None)


def _num_unblocked(item: Item, states: States) -> int:
    """Count the blocked items that need an item, directly or through others."""
    unblocked = {item}
    # Every item comes after those that it needs, so one pass finds them all.
    for other, state in states.items():
        if state.kind == "blocked" and unblocked.intersection(other.needs):
            unblocked.add(other)
    return len(unblocked) - 1


def _features(item: Item) -> tuple[str, str] | None:
    """Name the features that a cell is computed from."""
    return (item.model.weights, item.task) if isinstance(item, Evaluate) else None
