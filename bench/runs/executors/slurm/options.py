"""The option ``--slurm``: what every job asks of Slurm."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from bench.config.overrides import validated
from bench.contracts import Settings
from bench.errors import UserError
from bench.text import shortened

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:%+/&|()\[\]*-]{0,199}$")]
"""A name or expression without spaces, as Slurm takes it."""

LONGEST_MIN = 365 * 24 * 60
LONGEST_DELAY_S = 65_535
"""Slurm stores the time between signal and limit in 16 bits."""
DEFAULT_DELAY_S = 120
_CLOCK = re.compile(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)")


class SlurmOptions(Settings):
    """What every job asks of Slurm. A key without a value is left to the cluster's defaults."""

    partition: Name | None = None
    """Partition, as of ``sbatch --partition``."""
    account: Name | None = None
    """Account that the jobs are charged to."""
    qos: Name | None = None
    """Quality of service."""
    reservation: Name | None = None
    """Reservation."""
    constraint: Name | None = None
    """Features that the node must have, e.g. ``a100``."""
    nodelist: Name | None = None
    """The node to use."""
    exclude: Name | None = None
    """A node to avoid."""
    gres: Name | None = None
    """Generic resources, e.g. ``gpu:a100:1``; for plain GPUs use ``gpus_per_node``."""
    gpus_per_node: int | None = Field(default=None, ge=0, le=64)
    """GPUs of each job that compresses. Jobs that evaluate get at most one."""
    cpus_per_task: int | None = Field(default=None, ge=1, le=4_096)
    """CPU cores of each job, and its threads."""
    mem: str | None = Field(default=None, pattern=r"^[0-9]{1,9}[KMGT]B?$")
    """Memory of each job, e.g. ``32G``."""
    time: int = Field(default=240, ge=1, le=LONGEST_MIN)
    """Time limit of each job, in minutes or as HH:MM:SS. A job that needs longer requeues itself and goes on."""
    array_parallelism: int = Field(default=256, ge=1, le=1_000_000)
    """Most jobs of one array that run at the same time."""
    signal_delay_s: int | None = Field(default=None, ge=5, le=LONGEST_DELAY_S)
    """Seconds before the time limit at which a job writes its checkpoint and requeues itself. By default 120, at most a
    quarter of the time limit."""
    max_requeues: int = Field(default=100, ge=0, le=10_000)
    """How often a job may requeue itself."""

    @field_validator("time", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        if not isinstance(value, str) or ":" not in value:
            return value
        clock = _CLOCK.fullmatch(value.strip())
        if clock is None:
            raise ValueError("expected minutes, HH:MM:SS or D-HH:MM:SS")
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return days * 1440 + hours * 60 + minutes + (seconds > 0)

    @model_validator(mode="after")
    def _delay_fits(self) -> SlurmOptions:
        if self.delay_s * 2 > self.time * 60:
            raise ValueError(
                f"expected signal_delay_s of at most half the time limit, {self.time * 30} s (found {self.delay_s})"
            )
        return self

    @property
    def delay_s(self) -> int:
        """Seconds between the signal and the time limit."""
        return min(DEFAULT_DELAY_S, self.time * 15) if self.signal_delay_s is None else self.signal_delay_s

    def for_one_gpu(self) -> SlurmOptions:
        """Return the options of a job that uses at most one GPU."""
        return self.model_copy(update={"gpus_per_node": min(self.gpus_per_node, 1)}) if self.gpus_per_node else self

    def require_gpus(self, devices: int) -> None:
        """Refuse fewer GPUs than a compression trains on.

        Raises:
            UserError: ``gpus_per_node`` is too small.
        """
        if self.gpus_per_node is not None and devices > 1 and self.gpus_per_node < devices:
            raise UserError(
                f"Expected --slurm gpus_per_node={devices}, one GPU for each of --devices {devices}. "
                f"Found gpus_per_node={self.gpus_per_node}. Change one of them."
            )


def read_options(text: str | None) -> SlurmOptions:
    """Read ``key=value,key=value``.

    Raises:
        UserError: a key is unknown or given twice, or a value is wrong.
    """
    values: dict[str, str] = {}
    for part in [] if text is None else text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise UserError(
                f"Expected --slurm KEY=VALUE,KEY=VALUE, such as partition=gpu,time=08:00:00. "
                f"Found {shortened(repr(part))}."
            )
        if key in values:
            raise UserError(f"--slurm {shortened(key)} is given twice. Keep one of them.")
        values[key] = value
    return validated(SlurmOptions, values, "--slurm")
