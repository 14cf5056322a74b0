"""Checkpoints of downstream heads that survive a kill at any moment.

s3prl writes a checkpoint's files one by one into a folder it later trusts. Here that folder is only a draft: we
complete it, list the hash of every file, flush it to the disk, and move it into place with one rename. A checkpoint
holds both the latest head and the best head so far, so the two always match. The optimizer's state goes with the latest
head alone. A best head that has not changed is a hard link to that of the oldest checkpoint, which is removed next: no
two checkpoints that are kept share a file, so damage to one leaves the other whole.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from bench.files.atomic import naming
from bench.files.sealed import digests, set_aside
from bench.stopping import is_stop_requested

BEST = "valid_best"
"""s3prl's name for the head with the best dev score."""
_MANIFEST = "manifest.json"
_KEEP = 2
LARGE_BYTES = 64_000_000
"""Checkpoints of larger heads are written less often than the recipe says: ASR's takes 516 MB, 400 times a training."""
LARGE_INTERVAL_S = 600.0
"""Shortest time between two large checkpoints."""
_OPTIMIZER_COPIES = 3
"""Size of a checkpoint relative to its head. Adam keeps two values per weight."""


class SaveInterval(int):
    """s3prl's ``save_step``. A checkpoint is also due when a stop is requested, see `bench.stopping`."""

    def __rmod__(self, step: int) -> int:
        """Return 0 if a checkpoint is due; s3prl asks ``step % save_step``."""
        return 0 if is_stop_requested() else step % int(self)


class HeadCheckpoints:
    """The checkpoints of one training, newest last.

    Args:
        train_dir: where s3prl writes its drafts ``step_<n>`` and ``valid_best``.
        checkpoint_dir: holds complete checkpoints.
    """

    def __init__(self, train_dir: Path, checkpoint_dir: Path) -> None:
        self.train_dir = train_dir
        self._checkpoint_dir = checkpoint_dir
        self._committed_at: float | None = None

    def is_due(self, head_bytes: int) -> bool:
        """Return whether to write a checkpoint of a head of this size now."""
        is_large = head_bytes * _OPTIMIZER_COPIES >= LARGE_BYTES
        if self._committed_at is None or not is_large or is_stop_requested():
            return True
        return time.monotonic() - self._committed_at >= LARGE_INTERVAL_S

    def restore(self) -> Path | None:
        """Remove drafts, set damaged checkpoints aside, restore the best head, and return the newest checkpoint."""
        for draft in [*self.train_dir.glob("step_*"), *self.train_dir.glob(BEST)]:
            shutil.rmtree(draft)
        for checkpoint in reversed(_by_step(self._checkpoint_dir)):
            if _is_complete(checkpoint):
                if (checkpoint / BEST).is_dir():
                    _copy(checkpoint / BEST, self.train_dir / BEST)
                return checkpoint
            set_aside(checkpoint, self._checkpoint_dir.parent)
        return None

    def newest_step(self) -> int:
        """Return the step of the newest complete checkpoint, and change nothing. 0 if there is none."""
        complete = (path for path in reversed(_by_step(self._checkpoint_dir)) if _is_complete(path))
        return _step_of(next(complete, None))

    def draft(self) -> Path | None:
        """Return the checkpoint that s3prl has just written, or None. Remove one that was not due."""
        drafts = _by_step(self.train_dir)
        if drafts and not (drafts[-1] / "model").is_dir():
            shutil.rmtree(drafts[-1])
            return None
        return drafts[-1] if drafts else None

    def commit(self, draft: Path) -> None:
        """Make the draft the newest checkpoint, atomically."""
        best = self.train_dir / BEST
        if best.is_dir():
            self._keep_best(best, draft / BEST)
        (draft / _MANIFEST).write_bytes(_manifest(draft))
        for path in [*draft.rglob("*"), draft]:
            _flush(path)
        self._checkpoint_dir.mkdir(parents=True, exist_ok=True)
        draft.rename(self._checkpoint_dir / draft.name)
        _flush(self._checkpoint_dir)
        self._committed_at = time.monotonic()
        for old in _by_step(self._checkpoint_dir)[:-_KEEP]:
            shutil.rmtree(old)

    def _keep_best(self, best: Path, target: Path) -> None:
        replaced = _by_step(self._checkpoint_dir)[: 1 - _KEEP]
        # By content, so that no damage is passed on.
        is_same = bool(replaced) and digests(replaced[0] / BEST) == digests(best)
        _copy(replaced[0] / BEST if is_same else best, target, link=is_same)


def _copy(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy a head. `shutil.copytree` would hide the error of a full disk in a list.

    Args:
        source: its folder.
        target: the folder to make.
        link: make hard links, where the file system has them. Files of complete checkpoints never change.
    """
    for path in [source, *sorted(source.rglob("*"))]:
        copied = target / path.relative_to(source)
        if path.is_dir():
            copied.mkdir()
        elif not (link and _linked(path, copied)):
            with naming(copied):
                shutil.copyfile(path, copied)


def _linked(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True


def _by_step(folder: Path) -> list[Path]:
    steps = [path for path in folder.glob("step_*") if path.name.removeprefix("step_").isdecimal()]
    return sorted(steps, key=_step_of)


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("step_")) if checkpoint else 0


def _is_complete(checkpoint: Path) -> bool:
    """Return whether the folder holds exactly the files of its manifest. Without a manifest it is no checkpoint."""
    try:
        return (checkpoint / _MANIFEST).read_bytes() == _manifest(checkpoint) != b"{}"
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _manifest(checkpoint: Path) -> bytes:
    """Map the relative path of every file of a checkpoint, except its manifest, to its hash, as JSON."""
    found = {name: digest for name, digest in digests(checkpoint).items() if name != _MANIFEST}
    return json.dumps(found, indent=1).encode()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
