"""Makes sure that a task resumes only its own interrupted work."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UserError
from bench.files.atomic import write_atomically

logger = logging.getLogger(__name__)


def clear_work_of_others(target_dir: Path, fingerprint: Mapping[str, Any]) -> None:
    """Delete the folder if its files belong to another call, then mark it with this call's fingerprint.

    Args:
        target_dir: the caller's own folder, which need not exist.
        fingerprint: everything the files in it depend on, as plain values.
    """
    path = target_dir / "fingerprint.json"
    wanted = json.dumps(fingerprint, sort_keys=True, indent=1)
    if path.is_file() and path.read_bytes() == wanted.encode():
        return
    if target_dir.exists():
        logger.warning(
            "Removing %s and starting over: it belongs to another configuration, upstream or corpus, or its %s is "
            "damaged",
            target_dir,
            path.name,
        )
        shutil.rmtree(target_dir)
    write_atomically(path, wanted)


def data_sha256(frame: pd.DataFrame) -> str:
    """Hash a split's table, and the size and modification time of its audio files.

    Raises:
        UserError: a file no longer exists.
    """
    digest = hashlib.sha256(frame.to_csv(index=False).encode())
    for path in frame["wav_path"].unique():
        try:
            status = Path(path).stat()
        except FileNotFoundError as error:
            raise UserError(
                f"Expected {path}, which was there when the run began. Found none. Restore it, and run again."
            ) from error
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()
