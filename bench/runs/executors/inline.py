"""Works through a list of items one after the other in this process, and shares them with other processes."""

from __future__ import annotations

import logging
import time

from bench.progress import reported_to
from bench.runs.executors.job import Job
from bench.runs.scheduler import next_item
from bench.runs.states import States, states_of
from bench.runs.work import Item
from bench.stopping import stop_if_requested
from bench.store.holders import claimed_by_name

SECONDS_BETWEEN_LOOKS = 0.3
"""How often an idle process looks for new work."""

logger = logging.getLogger(__name__)


class Inline:
    """Does every item that is ready, and waits for those that other processes do.

    Any number of processes may work through one list at the same time. If a process is killed, its item becomes ready
    again, and another process takes it. An item that failed while this process was running is not tried again.
    """

    def work_through(self, job: Job) -> States:
        """See `Executor`."""
        work = job.work
        last: Item | None = None
        awaited: set[str] = set()
        while True:
            stop_if_requested()
            work.folder.require_present()
            states = states_of(work.items(), work.folder, job.failures.reason)
            item = next_item(states, last)
            if item is not None:
                last = item if _do_claimed(item, job) else last
                continue
            running = {item.label for item, state in states.items() if state.kind == "running"}
            if not running:
                return states
            for label in sorted(running - awaited):
                logger.info("waiting for another process that works on %s", label)
            awaited = running
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _do_claimed(item: Item, job: Job) -> bool:
    """Do an item unless another process has begun or finished it since its state was read."""
    folder = job.work.folder
    with claimed_by_name(folder.lock_path(item.label)) as claim:
        if claim is None or item.is_done(folder) or job.failures.reason(item) is not None:
            return False
        with reported_to(claim.note):
            job.do(item)
        return True
