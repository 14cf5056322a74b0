"""Tensors that a preparation keeps in the work folder once they are made: made again, they might differ by rounding."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from bench.files.sealed import read_sealed, write_sealed

SECONDS_BETWEEN_SNAPSHOTS = 5.0


def kept_tensors(path: Path, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of an undamaged file, made and written first where there is none."""
    kept = read_tensors(path)
    if kept is None:
        write_tensors(path, make())
        kept = read_tensors(path)
    if kept is None:
        raise OSError(f"{path} was damaged as soon as it was written")
    return kept


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file; None where there is none, or a damaged one, which is set aside."""
    content = read_sealed(path)
    return None if content is None else load(content)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors with a checksum, all or nothing."""
    write_sealed(path, save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}))


class Snapshots:
    """The state of a long computation, kept every few seconds until its result is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pause = SECONDS_BETWEEN_SNAPSHOTS
        self._last = time.monotonic()

    def last(self) -> dict[str, Tensor] | None:
        """Return the last state that was kept, if there is one."""
        return read_tensors(self.path)

    def keep(self, state: Callable[[], Mapping[str, Tensor]], *, now: bool = False) -> None:
        """Keep the state where it is time to; large ones take a tenth of the time at most."""
        started = time.monotonic()
        if now or started - self._last >= self._pause:
            write_tensors(self.path, state())
            self._last = time.monotonic()
            self._pause = max(SECONDS_BETWEEN_SNAPSHOTS, 10 * (self._last - started))

    def remove(self) -> None:
        """Delete it, once the result is kept."""
        self.path.unlink(missing_ok=True)
