"""A compressor's working folder: whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bench.errors import UserError
from bench.files import write_atomically

IDENTITY_NAME = "identity.json"


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
        write_atomically(path, json.dumps(wanted, indent=1) + "\n")
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
