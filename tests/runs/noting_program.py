"""``bench`` for tests of several processes: it notes each item that it begins, and can hang or fail in one.

Usage: ``python noting_program.py FOLDER VERB ...``. The processes that it starts do the same. ``FOLDER/begun.jsonl``
gets a line per item. The item named in ``FOLDER/hang`` (``*``: any) does not end while that file exists. The one in
``FOLDER/fail`` fails.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench.cli import program
from bench.errors import UserError
from bench.runs import worker
from bench.runs.executors import child

FOLDER = Path(sys.argv[1])


def begin(subject: str) -> None:
    descriptor = os.open(FOLDER / "begun.jsonl", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, (json.dumps({"subject": subject, "pid": os.getpid()}) + "\n").encode())
    os.close(descriptor)
    while named_in("hang", subject):
        time.sleep(0.05)
    if named_in("fail", subject):
        raise UserError("no luck")


def named_in(file: str, subject: str) -> bool:
    path = FOLDER / file
    return path.exists() and path.read_text() in (subject, "*")


def patch_worker() -> None:
    compress, evaluate = worker.compress, worker.evaluate

    def compressing(config: Any, item: Any, *arguments: Any) -> Any:
        begin(item.name)
        return compress(config, item, *arguments)

    def evaluating(config: Any, folder: Any, cell: Any, *arguments: Any) -> Any:
        begin(str(cell))
        return evaluate(config, folder, cell, *arguments)

    worker.compress, worker.evaluate = compressing, evaluating


if __name__ == "__main__":
    # Shells that start the tests in the background have it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    patch_worker()
    child.WORK = (sys.executable, __file__, str(FOLDER), "work")
    sys.argv[1:2] = []
    program()
