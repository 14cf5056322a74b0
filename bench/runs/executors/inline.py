"""Works through a list of items one after the other in this process, and shares them with other processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from bench.progress import reported_to
from bench.runs.failures import Failures
from bench.runs.scheduler import next_item
from bench.runs.states import States, states_of
from bench.runs.work import Item, WorkList
from bench.store.holders import claimed_by_name

SECONDS_BETWEEN_LOOKS = 0.3
"""How often an idle process looks for new work."""

logger = logging.getLogger(__name__)


def work_through(work: WorkList, failures: Failures, do: Callable[[Item], None]) -> States:
    """Do every item that is ready, and wait for those that other processes do.

    Any number of processes may work through one list at the same time. If a process is killed, its item becomes ready
    again, and another process takes it.

    Args:
        work: the list.
        failures: records what failed; an item that failed while this process was running is not tried again.
        do: does one item, and records its failure.

    Returns:
        The final states.

    Raises:
        RunFolderGoneError: the run's folder was deleted meanwhile.
    """
    last: Item | None = None
    awaited: set[str] = set()
    while True:
        work.folder.require_present()
        states = states_of(work.items(), work.folder, failures.reason)
        item = next_item(states, last)
        if item is not None:
            last = item if _do_claimed(item, work, failures, do) else last
            continue
        running = {item.label for item, state in states.items() if state.kind == "running"}
        if not running:
            return states
        for label in sorted(running - awaited):
            logger.info("waiting for another process that works on %s", label)
        awaited = running
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _do_claimed(item: Item, work: WorkList, failures: Failures, do: Callable[[Item], None]) -> bool:
    """Do an item unless another process has begun or finished it since its state was read."""
    with claimed_by_name(work.folder.lock_path(item.label)) as claim:
        if claim is None or item.is_done(work.folder) or failures.reason(item) is not None:
            return False
        with reported_to(claim.note):
            do(item)
        return True
