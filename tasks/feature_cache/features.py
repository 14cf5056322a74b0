"""Features of one frozen upstream: taken from the store, computed where they are missing."""

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
"""``means``: over time, of every hidden state, (1, states, dim) float32; exact for heads that are linear up to their
mean pooling. ``frames``: (frames, states, dim) float16."""

PACK_INTERVAL_S = 60.0
DTYPES: Mapping[Kind, torch.dtype] = {"means": torch.float32, "frames": torch.float16}

HiddenStates = Callable[[Tensor], Tensor]
"""Maps one utterance's waveform (samples,) to its hidden states (frames, states, dim), float32."""


class Features:
    """What the cached protocol puts in an upstream's place: features of each utterance, computed alone, unpadded."""

    def __init__(
        self, hidden_states: HiddenStates, store: FeatureStore, kind: Kind, *, frame_bytes: int, limit_bytes: int | None
    ) -> None:
        """Use what the store has.

        Args:
            hidden_states: computes what is missing.
            store: of this upstream and kind.
            kind: what is kept of the hidden states.
            frame_bytes: size of one frame of all hidden states as stored.
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
        """Compute what is missing; interrupted, the same call goes on where it was.

        Processes that want the same utterances at once wait for the first of them, and find them in the store.

        Args:
            hashes: of every utterance's waveform.
            num_frames: of every utterance.
            paths: of the audio of every utterance, for messages.
            waveform: decodes an utterance, by its position.

        Raises:
            UserError: the features would not fit on the disk, are not finite, or need more memory than there is.
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
                logger.info("features: %d utterances to compute, %s to keep", len(missing), size_text(needed_bytes()))
                self._compute(
                    {name: positions[name] for name in positions if name in missing}, paths, waveform, written
                )
        if self._store.find(positions):
            raise UserError(
                f"Features written to {self._store.folder} cannot be read back. Check the disk, and run again."
            )

    def __getitem__(self, name: str) -> Tensor:
        """Return (frames or 1, states, dim), in the precision that is kept."""
        return self._store[name]

    def _claim(self, hashes: Collection[str]) -> Path:
        """Name the lock file of these utterances in this store.

        Not of the whole store: tasks that share an upstream, on other corpora, need not wait for each other.
        """
        folder = self._store.folder
        wanted = hashlib.sha256("".join([folder.name, *sorted(hashes)]).encode()).hexdigest()[:40]
        # Beside the store, for pruning that would free the claim.
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
        # What is not finite shows in the sum, which takes a tenth of the time of looking at every number.
        if not torch.isfinite(kept.float().sum()):
            raise UserError(
                f"Expected finite hidden states that fit {DTYPES[self._kind]}. Found others on speech of "
                f"{len(waveform) / SAMPLE_RATE_HZ:.2f} s. The upstream's weights are unusable for --protocol cached: "
                "compress or convert it again, or use --protocol s3prl."
            )
        return kept
