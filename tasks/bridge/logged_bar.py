"""A tqdm bar for s3prl that logs lines where there is no terminal."""

from __future__ import annotations

import io
import logging
import time
from typing import Any

from bench.progress import SECONDS_BETWEEN_LINES, Bar, TimeLeft, report

logger = logging.getLogger(__name__)


class LoggedBar(Bar):
    """Counts like tqdm, and logs its progress every half a minute."""

    left: TimeLeft | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        quiet = {"file": io.StringIO(), "leave": False, "miniters": 1, "mininterval": SECONDS_BETWEEN_LINES}
        self.start_monotonic = time.monotonic()
        super().__init__(*args, **{**kwargs, **quiet})

    def update(self, n: float | None = 1) -> Any:
        """Count. A resumed training has set the start count before."""
        if self.left is None:
            self.left = TimeLeft(self.total or 0, int(self.n))
            if self.n == 0:  # iterating over the bar calls this only when a line is due
                self.left.started = self.start_monotonic
        return super().update(n)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002 - tqdm's signature
        """Log a line. tqdm calls this when one is due."""
        if msg is None and self.left is not None:
            logger.info(report(self.desc, int(self.n), self.total, left=self.left.after(int(self.n))))
