"""Describes the machine of a measurement."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

from bench.store.latency import Machine

_CPU_INFO = Path("/proc/cpuinfo")


def this_machine() -> Machine:
    """Describe this machine."""
    return Machine(
        cpu=_cpu_name(),
        num_cores=num_cores(),
        gpu=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        torch=torch.__version__,
        load=load(),
        system=f"{platform.system()} {platform.release()}",
    )


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Return the load per core in the last minute. None if the system does not report it."""
    return os.getloadavg()[0] / num_cores() if hasattr(os, "getloadavg") else None


def _cpu_name() -> str:
    if _CPU_INFO.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()
