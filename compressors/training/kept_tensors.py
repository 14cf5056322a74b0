"""Tensors that the work folder stores once they are computed. Computed again, they might differ by rounding."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from bench.files.sealed import read_sealed, write_sealed

SECONDS_BETWEEN_SNAPSHOTS = 5.0


def kept_tensors(path: Path, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of a file. If there is no undamaged one, compute and write them first."""
    kept = read_tensors(path)
    if kept is None:
        write_tensors(path, make())
        kept = read_tensors(path)
    if kept is None:
        raise OSError(f"{path} was damaged as soon as it was written")
    return kept


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file, or None if it is absent or damaged. Damaged files are set aside."""
    content = read_sealed(path)
    return None if content is None else load(content)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors atomically, with a checksum."""
    write_sealed(path, save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}))


class Snapshots:
    """Stores the state of a long computation every few seconds until the result is stored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pause = SECONDS_BETWEEN_SNAPSHOTS
        self._last = time.monotonic()

    def last(self) -> dict[str, Tensor] | None:
        """Return the last stored state, if any."""
        return read_tensors(self.path)

    def keep(self, state: Callable[[], Mapping[str, Tensor]], *, now: bool = False) -> None:
        """Store the state if it is due. Storing takes at most a tenth of the time."""
        started = time.monotonic()
        if now or started - self._last >= self._pause:
            write_tensors(self.path, state())
            self._last = time.monotonic()
            self._pause = max(SECONDS_BETWEEN_SNAPSHOTS, 10 * (self._last - started))

    def remove(self) -> None:
        """Delete the state once the result is stored."""
        self.path.unlink(missing_ok=True)
