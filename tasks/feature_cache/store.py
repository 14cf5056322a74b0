"""Features on disk in pack files. Packs are written atomically, and several processes may write at once."""

from __future__ import annotations

import json
import logging
import uuid
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from bench.files.atomic import replacing, write_atomically
from bench.files.tensors import save_tensors

logger = logging.getLogger(__name__)

PACK_BYTES = 256 * 2**20
ABOUT = "about.json"


class FeatureStore:
    """Tensors by name, for one upstream and one kind of features.

    Each writer adds its own packs, moved into place atomically; packs never change. Two writers may add the same
    tensor. A pack's checksums are verified before its first use, and again if its file was touched. A damaged pack is
    removed, and its tensors count as missing.
    """

    def __init__(self, folder: Path, about: Mapping[str, object]) -> None:
        """Open the store, which need not exist yet.

        Args:
            folder: a folder for this store alone.
            about: description of the content for people. Its file's time stamp is the store's last use.
        """
        self.folder = folder
        self._about = json.dumps(dict(about), indent=1) + "\n"
        write_atomically(folder / ABOUT, self._about)
        self._packs: dict[Path, _Pack] = {}
        self._found: dict[str, _Pack] = {}

    def find(self, wanted: Collection[str]) -> set[str]:
        """Find and verify tensors, including those in packs that others have added.

        Returns:
            The names of missing tensors.
        """
        for path in sorted(self.folder.glob("*.safetensors")):
            if path not in self._packs:
                self._packs[path] = _Pack(path)
        missing = set(wanted) - self._found.keys()
        for path, pack in list(self._packs.items()):
            held = missing & pack.checksums.keys()
            if held:
                pack.verify()
            if pack.damage:
                logger.warning("Computing the features in %s again: they are damaged (%s)", path, pack.damage)
                path.unlink(missing_ok=True)
                _note(path).unlink(missing_ok=True)
                del self._packs[path]
            elif held:
                self._found.update(dict.fromkeys(held, pack))
                missing -= held
        return missing

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor that `find` has found, memory-mapped."""
        return self._found[name].tensor(name)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Write a pack."""
        checksums = {name: _checksum(tensor) for name, tensor in tensors.items()}
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        with replacing(path) as draft:
            save_tensors(tensors, draft, metadata={"crc32": json.dumps(checksums)})
        # Keep the file open, so that it stays readable if another process prunes the store. Pruning also removes the
        # description, so write it again.
        self._packs[path] = _Pack(path)
        if not (self.folder / ABOUT).is_file():
            write_atomically(self.folder / ABOUT, self._about)


def count_tensors(folder: Path) -> int:
    """Count the tensors of a store, from the headers of its files. A damaged file counts as empty."""
    packs = [_Pack(path) for path in folder.glob("*.safetensors")]
    return len({name for pack in packs for name in pack.checksums})


class _Pack:
    """One file of tensors, opened once and memory-mapped."""

    def __init__(self, path: Path) -> None:
        self.checksums: dict[str, int] = {}
        self.damage = ""
        """Why the file is unusable; empty if no damage is known."""
        self._path = path
        self._is_verified = False
        try:
            tensors: Any = safetensors.safe_open(path, framework="pt")
            self._tensors = tensors
            self.checksums = json.loads(tensors.metadata()["crc32"])
        except FileNotFoundError:
            # Another process has pruned it, or it is a link to an unmounted disk. Neither is damage.
            logger.debug("%s no longer exists", path)
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            self.damage = str(error) or "no checksums"

    def tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._tensors.get_tensor(name)
        return tensor

    def verify(self) -> None:
        """Compare all tensors with their checksums, once unless the file is touched."""
        if self._is_verified:
            return
        # Taken before reading, so that a change during reading is noticed next time.
        state = _state(self._path)
        if state is None or _read_text(_note(self._path)) != state:
            wrong = next((name for name in self.checksums if not self._is_sound(name)), None)
            if wrong is not None:
                self.damage = f"wrong checksum of {wrong}"
                return
            if state is not None:
                write_atomically(_note(self._path), state)
        self._is_verified = True

    def _is_sound(self, name: str) -> bool:
        try:
            return _checksum(self.tensor(name)) == self.checksums[name]
        except safetensors.SafetensorError:
            # The file's header is damaged and names no such tensor.
            return False


def _note(pack: Path) -> Path:
    """Return the file that stores a pack's state when it was last verified."""
    return pack.with_suffix(".verified")


def _state(path: Path) -> str | None:
    """Describe a file so that every change shows, even if mtime is reset. None if the file no longer exists."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
