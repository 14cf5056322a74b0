"""``bench status``: the progress of a run."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.runs.executors.slurm.queue import SlurmJob
    from bench.runs.states import State, States
    from bench.runs.work import Item

KINDS = ("done", "running", "failed", "ready", "blocked")


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Show a run's items: done, running (where, since when, how far), failed (why) and still to do."""
    from bench.runs.executors.slurm.queue import jobs_as_far_as_known
    from bench.runs.status import status_of
    from bench.terminal.printing import print_json, print_rows

    states = status_of(folder)
    found = jobs_as_far_as_known(folder)
    jobs = {item: found[item.label] for item, state in states.items() if state.kind != "done" and item.label in found}
    if json:
        print_json([_described(item, state, jobs.get(item)) for item, state in states.items()])
    else:
        rows = [
            {
                "step": item.step,
                "subject": item.subject,
                "state": state.kind,
                "details": _details(state, jobs.get(item), folder),
            }
            for item, state in states.items()
        ]
        print_rows(rows, f"{folder}: {_counts(states)}")
    return 0


def _described(item: Item, state: State, job: SlurmJob | None) -> dict[str, Any]:
    found: dict[str, Any] = {"step": item.step, "subject": item.subject, "state": state.kind}
    if state.reason:
        found["reason"] = state.reason
    if job is not None:
        found["job"] = {"id": job.id, "state": job.state, "reason": job.reason, "log": str(job.log)}
    return found | (state.holder.model_dump(mode="json") if state.holder else {})


def _details(state: State, job: SlurmJob | None, folder: Path) -> str:
    """Describe who works on an item and how far it is, or why nobody does; and its Slurm job with the log."""
    from bench.progress import duration
    from bench.text import shortened

    submitted = [] if job is None else [str(job), f"log {job.log.relative_to(folder)}"]
    if state.holder is None:
        # The reason of a dead job names the job and its log.
        is_said = job is not None and job.id in state.reason
        return shortened(", ".join([*filter(None, [state.reason]), *([] if is_said else submitted)]), 160)
    parts = [f"on {state.holder.host}, process {state.holder.pid}"] if state.holder.host else []
    if state.holder.since:
        running = datetime.now(timezone.utc) - state.holder.since
        parts.append(f"for {duration(running.total_seconds())}")
    if state.holder.progress:
        parts.append(state.holder.progress)
    return shortened(", ".join([*parts, *submitted]), 160)


def _counts(states: States) -> str:
    kinds = [state.kind for state in states.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)
    return counts or "nothing to do"
