"""Checkpoints of training stages: the last one and the one before, each with a checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from bench.files.atomic import remove_unfinished
from bench.files.sealed import is_whole, sealing


def previous(path: Path) -> Path:
    """Return the path of the checkpoint before the last: ``joint.previous.ckpt`` for ``joint.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def clean_up(path: Path) -> None:
    """Remove the unfinished checkpoint of a process that was killed while saving."""
    remove_unfinished(_next(path))
    _next(path).unlink(missing_ok=True)


def _next(path: Path) -> Path:
    return path.with_name(f"{path.stem}.next{path.suffix}")


def last_good(path: Path) -> Path | None:
    """Return the newest undamaged checkpoint of a stage, if any. Damaged ones are set aside."""
    return next((each for each in (path, previous(path)) if is_whole(each)), None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU. No code in it is run."""
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint


class SealedCheckpointIO(TorchCheckpointIO):
    """Saves checkpoints atomically, and keeps the one before the last."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002 - lightning's signature
        """Write a checkpoint. The last one becomes the previous one."""
        path = Path(path)
        written = _next(path)
        with sealing(written) as file:
            torch.save(checkpoint, file)
        if path.exists():
            path.replace(previous(path))
        written.replace(path)

    def load_checkpoint(self, path: Any, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint to the CPU."""
        return read_checkpoint(Path(path))
