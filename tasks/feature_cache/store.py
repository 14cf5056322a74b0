"""Features on disk, packed into files that are whole or absent, safe with many writers."""

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
from safetensors.torch import save_file
from torch import Tensor

from bench.files.atomic import replacing, write_atomically

logger = logging.getLogger(__name__)

PACK_BYTES = 256 * 2**20
ABOUT = "about.json"


class FeatureStore:
    """Tensors by name, for one upstream and one kind of features.

    Every writer adds packs of its own, moved into place at once; packs are never changed. Two writers that add the
    same tensor do no harm. A pack is verified by checksums before it is used, and again once its file was touched. One
    that is torn or damaged is removed, and what it held is missing again.
    """

    def __init__(self, folder: Path, about: Mapping[str, object]) -> None:
        """Open the store, which need not exist yet.

        Args:
            folder: of this store alone.
            about: what is kept in it, for people; its file's time of change tells when the store was last used.
        """
        self.folder = folder
        self._about = json.dumps(dict(about), indent=1) + "\n"
        write_atomically(folder / ABOUT, self._about)
        self._packs: dict[Path, _Pack] = {}
        self._found: dict[str, _Pack] = {}

    def find(self, wanted: Collection[str]) -> set[str]:
        """Look for tensors, also in packs that others have added meanwhile, and verify them.

        Returns:
            The names that are missing.
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
                logger.warning("Features in %s are damaged (%s): computed again", path, pack.damage)
                path.unlink(missing_ok=True)
                _note(path).unlink(missing_ok=True)
                del self._packs[path]
            elif held:
                self._found.update(dict.fromkeys(held, pack))
                missing -= held
        return missing

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor that `find` has found, mapped from the disk."""
        return self._found[name].tensor(name)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Write a pack."""
        checksums = {name: _checksum(tensor) for name, tensor in tensors.items()}
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        with replacing(path) as draft:
            save_file(dict(tensors), draft, metadata={"crc32": json.dumps(checksums)})
        # Open from now on, so that it can be read even where another process prunes the store; that would also have
        # removed what names the store.
        self._packs[path] = _Pack(path)
        if not (self.folder / ABOUT).is_file():
            write_atomically(self.folder / ABOUT, self._about)


def count_tensors(folder: Path) -> int:
    """Count the tensors of a store, from the heads of its files; a damaged file has none."""
    packs = [_Pack(path) for path in folder.glob("*.safetensors")]
    return len({name for pack in packs for name in pack.checksums})


class _Pack:
    """One file of tensors, opened once; the tensors are mapped, not read."""

    def __init__(self, path: Path) -> None:
        self.checksums: dict[str, int] = {}
        self.damage = ""
        """What is wrong with the file; empty where nothing is known to be."""
        self._path = path
        self._is_verified = False
        try:
            tensors: Any = safetensors.safe_open(path, framework="pt")
            self._tensors = tensors
            self.checksums = json.loads(tensors.metadata()["crc32"])
        except FileNotFoundError:
            # Another process has just pruned it; or it is a link to a disk that is away, and no damage either.
            logger.debug("No %s any more", path)
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            self.damage = str(error) or "no checksums"

    def tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._tensors.get_tensor(name)
        return tensor

    def verify(self) -> None:
        """Compare all tensors with their checksums: once, for as long as the file is not touched."""
        if self._is_verified:
            return
        # Before reading, so that no change meanwhile is missed.
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
            # The file's head is damaged: no such tensor.
            return False


def _note(pack: Path) -> Path:
    """Name the file that tells the state of a pack when all of it was found sound."""
    return pack.with_suffix(".verified")


def _state(path: Path) -> str | None:
    """Describe a file so that every change shows, even one that sets the time of change back; None where it is gone."""
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
