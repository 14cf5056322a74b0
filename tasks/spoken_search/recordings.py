"""Hidden states of recordings, each computed alone, in batches that are kept in memory if they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn

from bench.audio.files import SAMPLE_RATE_HZ, read_header, read_waveform
from bench.contracts import Upstream
from bench.errors import UserError
from bench.out_of_memory import naming_recording
from tasks.bridge.s3prl_compat import apply_effects_tensor

EFFECTS = (("gain", "-3.0"),)
"""What s3prl does to QUESST's audio after resampling.

Source: s3prl 0.4.18, ``downstream/quesst14_dtw/dataset.py``.
"""
LEAST_SAMPLES = SAMPLE_RATE_HZ // 20
"""Shorter recordings are filled up with zeros, as s3prl does, because convolutions need some samples."""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Batch:
    """Recordings that are searched at once."""

    name: str
    rows: Sequence[int]
    """Positions in the table, by length."""


class Recordings:
    """The recordings of one table.

    Args:
        name: of the table.
        table: with the columns id, wav_path and num_samples.
        upstream: in eval mode on the device.
        device: where states are computed and kept.
        most_samples: of a batch, with padding. A longer recording is a batch of its own.
        most_bytes: states of all batches that are kept in memory. Of larger tables, only the last batch used is kept.
    """

    def __init__(
        self, name: str, table: pd.DataFrame, upstream: nn.Module, device: str, most_samples: int, most_bytes: int
    ) -> None:
        self._paths = [str(path) for path in table["wav_path"]]
        self._module, self.device = upstream, device
        lengths = [max(LEAST_SAMPLES, int(count)) for count in table["num_samples"]]
        self.batches = _batches(name, lengths, most_samples)
        self._is_kept = sum(lengths) <= samples_in(most_bytes, upstream)
        self._kept: dict[str, list[Tensor]] = {}

    def states(self, batch: Batch) -> list[Tensor]:
        """Return the states of each recording of a batch: (states, frames, dim), float32.

        Raises:
            UserError: audio cannot be read, or states are not finite or need too much memory.
        """
        if batch.name in self._kept:
            return self._kept[batch.name]
        found = [self._states(self._paths[row]) for row in batch.rows]
        self._kept = {**(self._kept if self._is_kept else {}), batch.name: found}
        return found

    def _states(self, path: str) -> Tensor:
        waveform = torch.from_numpy(read_waveform(read_header(Path(path), resample=True)))
        waveform, _ = apply_effects_tensor(waveform[None], SAMPLE_RATE_HZ, EFFECTS)
        missing = max(0, LEAST_SAMPLES - waveform.shape[1])
        waveform = torch.nn.functional.pad(waveform, (0, missing)).to(self.device)
        upstream: Any = self._module
        with naming_recording(path, waveform.shape[1] / SAMPLE_RATE_HZ), torch.inference_mode():
            states, lengths = upstream(waveform, torch.tensor([waveform.shape[1]]))
            found = torch.cat([state[:, : int(lengths[0])] for state in states]).float()
        if not torch.isfinite(found).all():
            raise UserError(
                f"Expected finite hidden states. The upstream returned NaN or infinity for {path}. Its weights are "
                "unusable: compress or convert it again."
            )
        return found


def samples_in(num_bytes: int, upstream: nn.Module) -> int:
    """Return how many samples of audio have states of this size."""
    shape = cast(Upstream, upstream)
    return num_bytes // ((shape.num_layers + 1) * shape.dim * FLOAT_BYTES) * shape.stride


def _batches(name: str, lengths: Sequence[int], most_samples: int) -> list[Batch]:
    """Group recordings by length: the longest one decides how much padding the others need."""
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    groups: list[list[int]] = []
    for row in order:
        if not groups or (len(groups[-1]) + 1) * lengths[row] > most_samples:
            groups.append([])
        groups[-1].append(row)
    return [Batch(f"{name}-{number}", rows) for number, rows in enumerate(groups)]
