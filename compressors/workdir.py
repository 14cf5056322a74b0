"""A compressor's working folder: whose it is, and files in it that are never half written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UserError

IDENTITY_NAME = "identity.json"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of ``path`` at once, when all of it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def claim(workdir: Path, identity: Mapping[str, object]) -> None:
    """Tie a folder to one piece of work, so that a resumed run never goes on with another's checkpoints.

    Args:
        workdir: made if missing.
        identity: plain values; everything that the result depends on.

    Raises:
        UserError: the folder holds other work; the first difference is named.
    """
    path = workdir / IDENTITY_NAME
    wanted = json.loads(json.dumps(identity))
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"Expected the identity of the work in {path}. Found no JSON ({error}). Remove {workdir}."
        ) from error
    if found != wanted:
        different = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
        raise UserError(
            f"Expected unfinished work of this very configuration in {workdir}. Found another: "
            f"{', '.join(different)} differ. Choose another output folder, or remove this one."
        )
