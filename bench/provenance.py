"""Where a result comes from: versions of code and libraries, and what computing it took."""

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
    """Versions of Python, of the suite and of the libraries that can change a result."""
    libraries = {name: _installed(name) for name in LIBRARIES}
    return {"python": platform.python_version(), SUITE: code_version(), **libraries}


@cache
def code_version(checkout: Path = CHECKOUT) -> str:
    """Tell which code runs: the release; of a git checkout also the commit, and whether tracked files differ from it.

    Args:
        checkout: the folder that holds the suite's packages.

    Returns:
        Such as ``0.1.0``, ``0.1.0+0c13a21f5d3e`` or ``0.1.0+0c13a21f5d3e.dirty``, as it was when first asked.
    """
    release = _installed(SUITE)
    # An installed copy may lie somewhere below another project's checkout: that commit would say nothing of it.
    commit = _git(checkout, "rev-parse", "--short=12", "HEAD") if (checkout / ".git").exists() else None
    if commit is None:
        return release
    is_clean = _git(checkout, "status", "--porcelain", "--untracked-files=no") == ""
    return f"{release}+{commit}{'' if is_clean else '.dirty'}"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def cpu_seconds() -> float:
    """Processor time of this process until now, of all its threads and of its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _git(checkout: Path, *arguments: str) -> str | None:
    """Return what git says; None where it says nothing, or is not there."""
    # Without its locks, which others at work in the checkout would run into.
    command = ["git", "--no-optional-locks", "-C", str(checkout), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
