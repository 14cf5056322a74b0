"""What the files of an interrupted task belong to, so that nothing is resumed under another identity."""

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
    """Make sure that whatever lies in the folder belongs to this very call: what another left there is removed.

    Args:
        target_dir: a folder of the caller's own, which need not exist.
        fingerprint: all that the files in it depend on, as plain values.
    """
    path = target_dir / "fingerprint.json"
    wanted = json.dumps(fingerprint, sort_keys=True, indent=1)
    if path.is_file() and path.read_bytes() == wanted.encode():
        return
    if target_dir.exists():
        logger.warning(
            "%s was left by another configuration, upstream or corpus, or its %s is damaged: it is begun again",
            target_dir,
            path.name,
        )
        shutil.rmtree(target_dir)
    write_atomically(path, wanted)


def data_sha256(frame: pd.DataFrame) -> str:
    """Hash a split's table, and the size and time of change of each of its audio files.

    Raises:
        UserError: a file is gone.
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
