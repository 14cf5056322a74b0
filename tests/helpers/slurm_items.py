"""Stand-ins for the items of a run in Slurm jobs: they sleep, note what they do, and need no torch.

As a program, it does one item: ``python -m tests.helpers.slurm_items RUN LABEL``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cli.interruption import EXIT_INTERRUPTED, raise_on_sigterm
from bench.errors import UserError
from bench.files.atomic import write_atomically
from bench.runs.executors.inline import Inline
from bench.runs.executors.job import Job
from bench.runs.failures import Failures
from bench.runs.status import stored_work
from bench.runs.work import Compress, Item, WorkList
from bench.stopping import stop_if_requested, stop_when_asked
from bench.store.run_folder import MODEL_FILES, FinishedCompression

TICK_S = 0.1


class QuickJob(Job):
    """A run whose items are stand-ins."""

    def command(self, item: Item, device: str | None = None) -> list[str]:
        return [sys.executable, "-m", __name__, str(self.work.folder.path), item.label]


def quick_job(run: Path, *, only: str | None = None) -> QuickJob:
    """Begin a call, as `bench.runs.run.Run` does."""
    work = stored_work(run)
    work = work if only is None else WorkList(work.folder, work.config, [only])
    failures = Failures(work.folder)

    def do(item: Item) -> None:
        if failures.guard(item.label, lambda: _do(item, work), item.notes[item.label]):
            failures.clear(item.notes[item.label])

    return QuickJob(work, failures, "cpu", None, do)


def plan(run: Path, behaviour: Mapping[str, Any] | None = None, seconds: float = 0) -> None:
    """Say how items behave.

    Args:
        run: their run's folder.
        behaviour: label to the seconds that an item takes, or to ``fails``.
        seconds: of all others.
    """
    write_atomically(run.parent / "plan.json", json.dumps({"": seconds, **(behaviour or {})}))


def events(run: Path) -> list[tuple[str, str]]:
    """Return what happened, in order: ``begin`` or ``end``, and the label."""
    path = run.parent / "events"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def ticks(run: Path, label: str) -> int:
    """Return how far an item is."""
    path = _progress_path(run, label)
    return path.stat().st_size if path.exists() else 0


def _progress_path(run: Path, label: str) -> Path:
    return run.parent / f"progress-{label.replace(' ', '_')}"


def _do(item: Item, work: WorkList) -> bool:
    run = work.folder.path
    planned = json.loads((run.parent / "plan.json").read_text())
    behaviour = planned.get(item.label, planned[""])
    _note(run, "begin", item.label)
    if behaviour == "fails":
        raise UserError("no luck")
    wanted = round(behaviour / TICK_S)
    with _progress_path(run, item.label).open("ab") as progress:
        while progress.tell() < wanted:
            time.sleep(TICK_S)
            progress.write(b".")
            progress.flush()
            stop_if_requested()
    if isinstance(item, Compress):
        (row,) = (model.row for model in work.models_of(item))
        for name in MODEL_FILES:
            write_atomically(work.folder.model_folder(row + item.suffix) / name, "{}")
        work.folder.finish_compression(item.name, FinishedCompression(models=(row,), seconds=0.0))
    else:
        write_atomically(work.folder.records.path(item.cell), "{}")
    _note(run, "end", item.label)
    return True


def _note(run: Path, event: str, label: str) -> None:
    descriptor = os.open(run.parent / "events", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, f"{event} {label}\n".encode())
    os.close(descriptor)


def main(run: Path, label: str) -> int:
    """Do one item as ``bench run-item`` does."""
    raise_on_sigterm()
    stop_when_asked()
    try:
        (state,) = Inline().work_through(quick_job(run, only=label)).values()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0 if state.kind == "done" else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
