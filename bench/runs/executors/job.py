"""What an executor gets, and what it must do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.runs.executors.program import PROGRAM
from bench.runs.failures import Failures
from bench.runs.states import States
from bench.runs.work import Item, WorkList


@dataclass(frozen=True)
class Job:
    """A run that has passed all checks, and whose ``config.yaml`` is written."""

    work: WorkList
    """Its items and its resolved configuration."""
    failures: Failures
    """What has failed since the run began, in any process."""
    device: Literal["cpu", "cuda"]
    cache_limit_bytes: int | None
    do: Callable[[Item], None]
    """Does one item in this process and records its failure. The caller holds the item's claim."""

    def command(self, item: Item, device: str | None = None) -> list[str]:
        """Return the command that does one item in another process, from any folder; see `bench.runs.single`.

        Args:
            item: the item.
            device: ``auto``, ``cpu`` or ``cuda``, for a machine that may have others than this one. None: as here.

        It exits with 0 if the item is done, and with 1 if it failed or needs items that are not done.
        """
        limit = [] if self.cache_limit_bytes is None else ["--cache-limit", f"{self.cache_limit_bytes}B"]
        folder = str(self.work.folder.path.absolute())
        return [*PROGRAM, "run-item", folder, item.label, "--device", device or self.device, *limit]


class Executor(Protocol):
    """Decides where the items of a run are done. `bench.runs.scheduler` decides in which order; Slurm has its own."""

    def work_through(self, job: Job) -> States:
        """Do every item that can be done, and return the final states.

        Raises:
            UserError: the executor does not work here.
            RunFolderGoneError: the run's folder was deleted meanwhile.
        """
        ...
