"""Start programs in processes that have imported torch already: seconds less than a new Python for each."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from typing import TextIO

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["compressors.training.loop", "tasks.feature_cache.features", __name__])


class Program:
    """A running program, with the part of `subprocess.Popen` that tests need."""

    def __init__(self, code: str, *arguments: object) -> None:
        child_stdin, own_stdin = PROCESSES.Pipe(duplex=False)
        own_stdout, child_stdout = PROCESSES.Pipe(duplex=False)
        words = [str(argument) for argument in arguments]
        self._process = PROCESSES.Process(target=_run, args=(code, words, child_stdin, child_stdout))
        self._process.start()
        for end in (child_stdin, child_stdout):
            end.close()
        self.stdin = _text(own_stdin, "w")
        self.stdout = _text(own_stdout, "r")

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 60) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "the program did not end"
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, text: str = "", timeout: float = 60) -> str:
        """Send a text, close standard input, and return what the program writes until it ends."""
        try:
            self.stdin.write(text)
            self.stdin.close()
        except (BrokenPipeError, ValueError):
            pass
        said = "" if self.stdout.closed else self.stdout.read()
        self.stdout.close()
        self.wait(timeout)
        return said


def _text(end: Connection, mode: str) -> TextIO:
    descriptor = os.dup(end.fileno())
    end.close()
    return os.fdopen(descriptor, mode, encoding="utf-8")


def _run(code: str, arguments: list[str], stdin: Connection, stdout: Connection) -> None:
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})
