"""Where a result comes from: versions of code and libraries."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("superb-bench", "torch", "torchaudio", "s3prl", "lightning", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, of the suite and of the libraries that can change a result."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
