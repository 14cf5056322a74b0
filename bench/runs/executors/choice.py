"""The option ``--executor``."""

from __future__ import annotations

import re

from bench.errors import UserError
from bench.runs.executors.commands import Commands
from bench.runs.executors.job import Executor
from bench.terminal.choices import one_of
from bench.text import shortened

NAMES = ("inline", "processes:N", "slurm", "commands")
MOST_PROCESSES = 1024


def read_executor(text: str, slurm: str | None = None, device: str = "auto", devices: int = 1) -> Executor | Commands:
    """Return the executor that the user has chosen.

    Args:
        text: its name.
        slurm: the option ``--slurm``.
        device: the option ``--device``.
        devices: the option ``--devices``.

    Raises:
        UserError: there is no such executor, ``--slurm`` or the number of processes is wrong, or there are fewer GPUs.
    """
    name, colon, count = text.strip().partition(":")
    if slurm is not None and name.lower() != "slurm":
        raise UserError(f"--slurm belongs to --executor slurm. Found --executor {shortened(text)}. Leave one out.")
    if name.lower() == "processes":
        from bench.runs.executors.processes import Processes
        from bench.runs.executors.shares import environments
        from bench.terminal.device import resolve_device

        return Processes(environments(_number_of_processes(text, count), resolve_device(device), devices))
    name = one_of(text.strip() if colon else name, NAMES, "--executor")
    if name == "slurm":
        from bench.runs.executors.slurm.executor import Slurm
        from bench.runs.executors.slurm.options import read_options

        return Slurm(read_options(slurm), device)
    if name == "commands":
        return Commands(device)
    from bench.runs.executors.inline import Inline

    return Inline()


def works_elsewhere(executor: Executor | Commands) -> bool:
    """Whether items are done on other machines than this one."""
    from bench.runs.executors.slurm.executor import Slurm

    return isinstance(executor, Commands | Slurm)


def _number_of_processes(text: str, count: str) -> int:
    if not (re.fullmatch(r"[1-9][0-9]{0,3}", count) and int(count) <= MOST_PROCESSES):
        raise UserError(
            f"Expected --executor processes:N with N from 1 to {MOST_PROCESSES}, such as processes:2. "
            f"Found {shortened(repr(text))}."
        )
    return int(count)
