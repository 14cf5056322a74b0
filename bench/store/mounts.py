"""File systems whose locks do not reach other machines, found by their mount options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.text import shortened

MOUNTS = Path("/proc/self/mountinfo")

LOCAL_LOCKS = {
    "lustre": {"localflock", "noflock"},
    "nfs": {"nolock", "local_lock=all", "local_lock=flock"},
    "nfs4": {"nolock", "local_lock=all", "local_lock=flock"},
}
"""File systems of several machines, and the mount options with which each machine has locks of its own, or none."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: Path
    kind: str
    """Its type, such as ``nfs4``."""
    options: frozenset[str]


def require_shared_locks(folder: Path, remedy: str) -> None:
    """Refuse a folder whose locks exclude only processes of one machine: jobs on two machines would do the same work.

    Args:
        folder: it need not exist.
        remedy: a sentence that says what to do.

    Raises:
        UserError: the mount options say so.
    """
    mount = mount_of(folder)
    wrong = sorted(mount.options & LOCAL_LOCKS.get(mount.kind, frozenset())) if mount else []
    if mount and wrong:
        raise UserError(
            f"Expected file locks that reach all machines in {shortened(str(folder), 100)}. Found {mount.kind} mounted "
            f"at {shortened(str(mount.point), 60)} with {wrong[0]}. {remedy} Or mount it with locks (Lustre: flock)."
        )


def mount_of(folder: Path) -> Mount | None:
    """Return the file system of a folder; None if the system does not say."""
    resolved = folder.resolve()
    holding = [mount for mount in _mounts() if resolved.is_relative_to(mount.point)]
    # Of two at one place, the later one hides the earlier one.
    return max(reversed(holding), key=lambda mount: len(mount.point.parts), default=None)


def _mounts() -> Iterator[Mount]:
    if not MOUNTS.is_file():
        return
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, dash, after = line.partition(" - ")
        place, system = before.split(" "), after.split(" ")
        if dash and len(place) > 5 and len(system) > 2:
            options = frozenset(f"{place[5]},{system[2]}".split(","))
            yield Mount(Path(_ESCAPE.sub(lambda code: chr(int(code[1], 8)), place[4])), system[0], options)
