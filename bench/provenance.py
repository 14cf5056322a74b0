"""Origin of a result: versions of code and libraries, and the computing time it took."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SUITE = "superb-bench"
LIBRARIES = ("torch", "torchaudio", "s3prl", "lightning", "numpy")
CHECKOUT = Path(__file__).resolve().parents[1]


def versions() -> dict[str, str]:
    """Return the versions of Python, of the suite and of the libraries that can change a result."""
    libraries = {name: _installed(name) for name in LIBRARIES}
    return {"python": platform.python_version(), SUITE: code_version(), **libraries}


@cache
def code_version(checkout: Path = CHECKOUT) -> str:
    """Return the version of the running code, in a git checkout with the commit and whether tracked files changed.

    Args:
        checkout: the folder that holds the suite's packages.

    Returns:
        Such as ``0.1.0``, ``0.1.0+0c13a21f5d3e`` or ``0.1.0+0c13a21f5d3e.dirty``. The first call's answer is kept.
    """
    release = _installed(SUITE)
    # An installed copy may be somewhere below another project's checkout, whose commit is irrelevant.
    commit = _git(checkout, "rev-parse", "--short=12", "HEAD") if (checkout / ".git").exists() else None
    if commit is None:
        return release
    is_clean = _git(checkout, "status", "--porcelain", "--untracked-files=no") == ""
    return f"{release}+{commit}{'' if is_clean else '.dirty'}"


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def cpu_seconds() -> float:
    """Return the processor time of this process so far, including all its threads and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _git(checkout: Path, *arguments: str) -> str | None:
    """Return git's output. None if git fails or is not installed."""
    # Without git's optional locks, which could make other git commands in the checkout fail.
    command = ["git", "--no-optional-locks", "-C", str(checkout), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
