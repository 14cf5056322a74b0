"""Features on disk, packed into files that are whole or absent, safe with many writers."""

from __future__ import annotations

import json
import logging
import uuid
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.files import replacing, write_atomically

logger = logging.getLogger(__name__)

PACK_BYTES = 256 * 2**20
ABOUT = "about.json"


class FeatureStore:
    """Tensors by name, for one upstream and one kind of features.

    Every writer adds packs of its own, moved into place at once; packs are never changed. Two writers that add the
    same tensor do no harm. A pack that is torn or damaged is removed, and what it held is missing again.
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
        for pack in self._packs.values():
            names = [name for name in wanted if name in pack.checksums and name not in self._found]
            if reason := pack.damage(names):
                logger.warning("Features in %s are damaged (%s): computed again", pack.path, reason)
                pack.path.unlink(missing_ok=True)
            else:
                self._found.update(dict.fromkeys(names, pack))
        return set(wanted) - self._found.keys()

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
        self.path = path
        self.checksums: dict[str, int] = {}
        self._reason = ""
        try:
            tensors: Any = safetensors.safe_open(path, framework="pt")
            self._tensors = tensors
            self.checksums = json.loads(tensors.metadata()["crc32"])
        except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            self._reason = str(error) or "no checksums"

    def tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._tensors.get_tensor(name)
        return tensor

    def damage(self, names: Iterable[str]) -> str:
        """Say what is wrong with the file, or with these tensors in it; empty where nothing is."""
        if self._reason:
            return self._reason
        wrong = next((name for name in names if _checksum(self.tensor(name)) != self.checksums[name]), None)
        return f"wrong checksum of {wrong}" if wrong else ""


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
