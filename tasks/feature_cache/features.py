"""Features of one frozen upstream: read from the store, and computed if missing."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError
from bench.out_of_memory import naming_recording
from bench.progress import tracked
from bench.sizes import size_text
from bench.store.claims import claimed
from tasks.feature_cache.room import room_to_grow
from tasks.feature_cache.store import PACK_BYTES, FeatureStore

logger = logging.getLogger(__name__)

Kind = Literal["means", "frames"]
"""``means``: every hidden state averaged over time, (1, states, dim) float32. Exact for heads that are linear up to
their mean pooling. ``frames``: (frames, states, dim) float16."""

PACK_INTERVAL_S = 60.0
DTYPES: Mapping[Kind, torch.dtype] = {"means": torch.float32, "frames": torch.float16}

HiddenStates = Callable[[Tensor], Tensor]
"""Maps one utterance's waveform (samples,) to its hidden states (frames, states, dim), float32."""


class Features:
    """Replaces an upstream in the cached protocol: features of each utterance, computed alone and unpadded."""

    def __init__(
        self, hidden_states: HiddenStates, store: FeatureStore, kind: Kind, *, frame_bytes: int, limit_bytes: int | None
    ) -> None:
        """Use a store.

        Args:
            hidden_states: computes missing features.
            store: the store of this upstream and kind.
            kind: which features to store.
            frame_bytes: stored size of one frame of all hidden states.
            limit_bytes: see `room_to_grow`.
        """
        self._hidden_states = hidden_states
        self._store = store
        self._kind = kind
        self._frame_bytes = frame_bytes
        self._limit_bytes = limit_bytes

    def prepare(
        self, hashes: Sequence[str], num_frames: Sequence[int], paths: Sequence[str], waveform: Callable[[int], Tensor]
    ) -> None:
        """Compute the missing features. The same call resumes after an interruption.

        If several processes need the same utterances, one computes them and the others wait for it.

        Args:
            hashes: hash of each utterance's waveform.
            num_frames: number of frames of each utterance.
            paths: audio file of each utterance, for messages.
            waveform: decodes the utterance at a position.

        Raises:
            UserError: the features do not fit on the disk, are not finite, or need too much memory.
        """
        positions = {name: index for index, name in enumerate(hashes)}

        def needed_bytes() -> int:
            missing = self._store.find(positions)
            frames = sum(1 if self._kind == "means" else num_frames[positions[name]] for name in missing)
            return frames * self._frame_bytes

        if not self._store.find(positions):
            return
        with (
            claimed(self._claim(positions), wait=True),
            room_to_grow(self._store.folder, needed_bytes, self._limit_bytes) as written,
        ):
            missing = self._store.find(positions)
            if missing:
                logger.info("features: computing %d utterances, %s", len(missing), size_text(needed_bytes()))
                self._compute(
                    {name: positions[name] for name in positions if name in missing}, paths, waveform, written
                )
        if self._store.find(positions):
            raise UserError(
                f"Features written to {self._store.folder} cannot be read back. Check the disk, and run again."
            )

    def __getitem__(self, name: str) -> Tensor:
        """Return (frames or 1, states, dim), in the stored precision."""
        return self._store[name]

    def _claim(self, hashes: Collection[str]) -> Path:
        """Return the lock file of these utterances in this store.

        The lock covers these utterances only, so tasks on other corpora with the same upstream do not wait.
        """
        folder = self._store.folder
        wanted = hashlib.sha256("".join([folder.name, *sorted(hashes)]).encode()).hexdigest()[:40]
        # Next to the store, not inside: pruning the store must not free the claim.
        return folder.parent / f"features-{wanted}.lock"

    def _compute(
        self,
        positions: Mapping[str, int],
        paths: Sequence[str],
        waveform: Callable[[int], Tensor],
        written: Callable[[int], None],
    ) -> None:
        pack: dict[str, Tensor] = {}
        packed_bytes, begun = 0, time.monotonic()
        for count, (name, index) in enumerate(
            tracked(positions.items(), "features", len(positions), "utterances"), start=1
        ):
            samples = waveform(index)
            with naming_recording(paths[index], samples.numel() / SAMPLE_RATE_HZ):
                pack[name] = self._kept(samples)
            packed_bytes += pack[name].nbytes
            is_due = packed_bytes >= PACK_BYTES or time.monotonic() - begun > PACK_INTERVAL_S
            if is_due or count == len(positions):
                self._store.add(pack)
                written(packed_bytes)
                pack, packed_bytes, begun = {}, 0, time.monotonic()

    def _kept(self, waveform: Tensor) -> Tensor:
        states = self._hidden_states(waveform)
        kept = states.mean(dim=0, keepdim=True) if self._kind == "means" else states
        kept = kept.to("cpu", DTYPES[self._kind]).contiguous()
        # The sum of values with NaN or infinity is not finite either, and takes a tenth of the time of a full check.
        if not torch.isfinite(kept.float().sum()):
            raise UserError(
                f"Expected finite hidden states within {DTYPES[self._kind]}. Found others in an utterance of "
                f"{len(waveform) / SAMPLE_RATE_HZ:.2f} s. The upstream's weights are unusable for --protocol cached: "
                "compress or convert it again, or use --protocol s3prl."
            )
        return kept
