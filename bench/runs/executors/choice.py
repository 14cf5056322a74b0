"""The option ``--executor``."""

from __future__ import annotations

from bench.errors import UserError
from bench.runs.executors.job import Executor
from bench.terminal.choices import one_of
from bench.text import shortened

NAMES = ("inline", "processes:N", "slurm", "commands")
MOST_PROCESSES = 1024


def read_executor(text: str) -> Executor:
    """Return the executor that the user has chosen.

    Raises:
        UserError: there is no such executor, or the number of processes is wrong.
    """
    name, colon, count = text.strip().partition(":")
    if name.lower() == "processes":
        from bench.runs.executors.processes import Processes

        return Processes(_number_of_processes(text, count))
    name = one_of(text.strip() if colon else name, NAMES, "--executor")
    if name == "slurm":
        from bench.runs.executors.slurm import Slurm

        return Slurm()
    if name == "commands":
        from bench.runs.executors.commands import Commands

        return Commands()
    from bench.runs.executors.inline import Inline

    return Inline()


def _number_of_processes(text: str, count: str) -> int:
    if not (count.isascii() and count.isdigit() and 1 <= int(count[:5]) <= MOST_PROCESSES):
        raise UserError(
            f"Expected --executor processes:N with N from 1 to {MOST_PROCESSES}, such as processes:2. "
            f"Found {shortened(repr(text))}."
        )
    return int(count)
