"""Lists one command per item, for any scheduler."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bench.cache_folder import cache_root
from bench.runs.executors.job import Job
from bench.runs.states import Kind, states_of

CACHE = "SUPERB_BENCH_CACHE"


@dataclass(frozen=True)
class ItemCommand:
    """The command that does one item, from any folder and on any machine that shares the disk."""

    item: str
    """Label of the item."""
    state: Kind
    after: list[str]
    """Labels of the items that must be done before."""
    command: list[str]


class Commands:
    """Does nothing itself.

    Args:
        device: the option ``--device``, for the machines where the commands will run.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device

    def listed(self, job: Job) -> list[ItemCommand]:
        """List the items that are not done. Every item comes after those that it needs."""
        folder = job.work.folder
        environment = ["env", f"{CACHE}={cache_root()}"] if os.environ.get(CACHE) else []
        return [
            ItemCommand(
                item.label,
                state.kind,
                [need.label for need in item.needs if not need.is_done(folder)],
                [*environment, *job.command(item, self.device)],
            )
            for item, state in states_of(job.work.items(), folder, job.failures.reason).items()
            if state.kind != "done"
        ]
