"""``bench status``: the progress of a run."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.runs.states import State, States

KINDS = ("done", "running", "failed", "ready", "blocked")


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Show a run's items: done, running (where, since when, how far), failed (why) and still to do."""
    from bench.runs.status import status_of
    from bench.terminal.printing import print_json, print_rows

    states = status_of(folder)
    if json:
        print_json([_item(step, subject, state) for step, subject, state in _named(states)])
    else:
        rows = [
            {"step": step, "subject": subject, "state": state.kind, "details": _details(state)}
            for step, subject, state in _named(states)
        ]
        print_rows(rows, f"{folder}: {_counts(states)}")
    return 0


def _named(states: States) -> list[tuple[str, str, State]]:
    return [(item.step, item.subject, state) for item, state in states.items()]


def _item(step: str, subject: str, state: State) -> dict[str, Any]:
    found: dict[str, Any] = {"step": step, "subject": subject, "state": state.kind}
    if state.reason:
        found["reason"] = state.reason
    return found | (state.holder.model_dump(mode="json") if state.holder else {})


def _details(state: State) -> str:
    """Describe who works on an item and how far it is, or why nobody does."""
    from bench.progress import duration
    from bench.text import shortened

    if state.holder is None:
        return shortened(state.reason, 160)
    parts = [f"on {state.holder.host}, process {state.holder.pid}"] if state.holder.host else []
    if state.holder.since:
        running = datetime.now(timezone.utc) - state.holder.since
        parts.append(f"for {duration(running.total_seconds())}")
    if state.holder.progress:
        parts.append(state.holder.progress)
    return shortened(", ".join(parts), 160)


def _counts(states: States) -> str:
    kinds = [state.kind for state in states.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)
    return counts or "nothing to do"
