"""Checkpoints of downstream heads that survive a kill at any moment.

s3prl writes a checkpoint's files one by one into a folder it later trusts. Here that folder is only a draft: we
complete it, list the hash of every file, flush it to the disk, and move it into place with one rename. A checkpoint
holds both the latest head and the best head so far, so the two always match.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from bench.files.atomic import naming
from bench.files.sealed import digests, set_aside

BEST = "valid_best"
"""s3prl's name for the head with the best dev score."""
_MANIFEST = "manifest.json"
_KEEP = 2


class HeadCheckpoints:
    """The checkpoints of one training, newest last.

    Args:
        train_dir: where s3prl writes its drafts ``step_<n>`` and ``valid_best``.
        checkpoint_dir: holds complete checkpoints.
    """

    def __init__(self, train_dir: Path, checkpoint_dir: Path) -> None:
        self._train_dir = train_dir
        self._checkpoint_dir = checkpoint_dir

    def restore(self) -> Path | None:
        """Remove drafts, set damaged checkpoints aside, restore the best head, and return the newest checkpoint."""
        for draft in [*self._train_dir.glob("step_*"), *self._train_dir.glob(BEST)]:
            shutil.rmtree(draft)
        for checkpoint in reversed(_by_step(self._checkpoint_dir)):
            if _is_complete(checkpoint):
                if (checkpoint / BEST).is_dir():
                    _copy(checkpoint / BEST, self._train_dir / BEST)
                return checkpoint
            set_aside(checkpoint, self._checkpoint_dir.parent)
        return None

    def draft(self) -> Path | None:
        """Return the checkpoint that s3prl has just written, or None."""
        drafts = _by_step(self._train_dir)
        return drafts[-1] if drafts else None

    def commit(self, draft: Path) -> None:
        """Make the draft the newest checkpoint, atomically."""
        best = self._train_dir / BEST
        if best.is_dir():
            # Without the optimizer's state: training never resumes from the best head.
            _copy(best, draft / BEST)
        (draft / _MANIFEST).write_text(json.dumps(_digests(draft), indent=1), encoding="utf-8")
        for path in [*draft.rglob("*"), draft]:
            _flush(path)
        self._checkpoint_dir.mkdir(parents=True, exist_ok=True)
        draft.rename(self._checkpoint_dir / draft.name)
        _flush(self._checkpoint_dir)
        for old in _by_step(self._checkpoint_dir)[:-_KEEP]:
            shutil.rmtree(old)


def _copy(source: Path, target: Path) -> None:
    """Copy a head without its optimizer's state. `shutil.copytree` would hide the error of a full disk in a list."""
    for path in [source, *sorted(source.rglob("*"))]:
        copied = target / path.relative_to(source)
        if path.is_dir():
            copied.mkdir()
        elif path.name != "optimizer.pt":
            with naming(copied):
                shutil.copyfile(path, copied)


def _by_step(folder: Path) -> list[Path]:
    steps = [path for path in folder.glob("step_*") if path.name.removeprefix("step_").isdecimal()]
    return sorted(steps, key=lambda path: int(path.name.removeprefix("step_")))


def _is_complete(checkpoint: Path) -> bool:
    """Return whether the folder holds exactly the files of its manifest. Without a manifest it is no checkpoint."""
    try:
        manifest = json.loads((checkpoint / _MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return False
    return bool(manifest) and manifest == _digests(checkpoint)


def _digests(checkpoint: Path) -> dict[str, str]:
    """Map the relative path of every file of a checkpoint, except its manifest, to its hash."""
    return {name: digest for name, digest in digests(checkpoint).items() if name != _MANIFEST}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
