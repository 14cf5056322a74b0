"""Submits items to Slurm through submitit."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.cache_folder import cache_root
from bench.errors import UserError
from bench.runs.executors.program import PYTHON
from bench.runs.executors.slurm.item import ItemJob
from bench.runs.executors.slurm.options import SlurmOptions
from bench.runs.executors.slurm.queue import is_there
from bench.store.claims import CACHE_REMEDY, OUT_REMEDY
from bench.store.mounts import require_shared_locks
from bench.text import shortened

UNKNOWN_TO_SUBMITIT = {"reservation", "signal_delay_s", "max_requeues"}
"""All other options are submitit's, by the same names."""


def require_slurm(run: Path) -> None:
    """Refuse to start where jobs cannot be submitted.

    Raises:
        UserError: submitit or Slurm's programs are missing, the path has a character that Slurm replaces, or locks do
            not reach the machines of the cluster.
    """
    _submitit()
    if not is_there():
        raise UserError(
            "Expected Slurm's sbatch and squeue on this machine. Found none. Run the command on a login node of the "
            "cluster, or use another --executor."
        )
    if "%" in str(run.absolute()):
        raise UserError(f"Expected an --out without % for --executor slurm. Found {shortened(str(run))}.")
    require_shared_locks(run, OUT_REMEDY)
    require_shared_locks(cache_root(), CACHE_REMEDY)


def submit(jobs: Sequence[ItemJob], name: str, dependency: str | None, options: SlurmOptions, logs: Path) -> str:
    """Submit jobs, several as an array.

    Args:
        jobs: at least one.
        name: of all jobs.
        dependency: the job that must succeed first.
        options: what every job asks of Slurm.
        logs: folder of the logs, which the nodes must see.

    Returns:
        Slurm's number of the job or array.

    Raises:
        UserError: Slurm refuses them.
    """
    submitit = _submitit()
    # The job's process replaces the shell of the batch script, so that the signal before the limit reaches it, and it
    # alone: sent to all processes, it would end those that do not expect it.
    executor = submitit.SlurmExecutor(logs, python=f"exec {shlex.join(PYTHON)}")
    executor.update_parameters(job_name=name, **_parameters(options, dependency))
    refused = submitit.core.utils.FailedSubmissionError, submitit.core.utils.FailedJobError
    try:
        with _nothing_printed(), executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except refused as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1].removeprefix("sbatch: error: ")
        raise UserError(
            f"Expected Slurm to accept the jobs. sbatch refused them: {shortened(reason, 200)}. Correct --slurm."
        ) from error
    return str(submitted[0].job_id).partition("_")[0]


def _parameters(options: SlurmOptions, dependency: str | None) -> dict[str, Any]:
    given = options.model_dump(exclude=UNKNOWN_TO_SUBMITIT, exclude_none=True)
    # B: to the batch script alone. Jobs of a failed need are cancelled, since they could never start.
    further = {"signal": f"B:USR2@{options.delay_s}", "requeue": True, "kill-on-invalid-dep": "yes"}
    if options.reservation:
        further["reservation"] = options.reservation
    if dependency:
        given["dependency"] = f"afterok:{dependency}"
    return {**given, "wckey": None, "use_srun": False, "stderr_to_stdout": True, "additional_parameters": further}


def _submitit() -> Any:
    # Otherwise it writes log lines to standard output, which belongs to results.
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
    try:
        import submitit
    except ModuleNotFoundError as error:
        if error.name != "submitit":
            raise
        raise UserError(
            "Expected the package submitit for --executor slurm. Install it: pip install superb-bench[slurm]."
        ) from error
    return submitit


@contextlib.contextmanager
def _nothing_printed() -> Iterator[None]:
    """Drop what submitit prints: it is in the error as well."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
