"""Features of one frozen upstream: read from the store, and computed if missing."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError
from bench.out_of_memory import naming_recording
from bench.progress import tracked
from bench.sizes import size_text
from bench.stopwatch import measuring
from bench.store.claims import claimed
from tasks.feature_cache.choice import Kind
from tasks.feature_cache.decoding import DecodeAt, Decoded, batches_of_one_length, decoded
from tasks.feature_cache.room import free_for_features, room_to_grow
from tasks.feature_cache.store import PACK_BYTES, FeatureStore
from tasks.feature_cache.waveforms import WaveformHashes

logger = logging.getLogger(__name__)

PACK_INTERVAL_S = 60.0
DTYPES: Mapping[Kind, torch.dtype] = {"means": torch.float32, "frames": torch.float16}

HiddenStates = Callable[[Tensor], list[Tensor]]
"""Maps waveforms of one length (batch, samples) to each utterance's hidden states (frames, states, dim), float32."""


@dataclass(frozen=True)
class Utterances:
    """The utterances of one table."""

    hashes: WaveformHashes
    num_samples: Sequence[int]
    """Length of each, as its header says."""
    num_frames: Sequence[int]
    paths: Sequence[str]
    """Audio file of each, for messages."""
    decode: DecodeAt


class Features:
    """Replaces an upstream in the cached protocol: features of each utterance, computed alone and unpadded."""

    def __init__(
        self,
        hidden_states: HiddenStates,
        store: FeatureStore,
        kind: Kind,
        *,
        frame_bytes: int,
        limit_bytes: int | None,
        most_samples: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Use a store.

        Args:
            hidden_states: computes missing features.
            store: the store of this upstream and kind.
            kind: which features to store.
            frame_bytes: stored size of one frame of all hidden states.
            limit_bytes: see `room_to_grow`.
            most_samples: of a batch of utterances with one length. Default: every utterance is a batch of its own.
            num_workers: processes that decode audio; 0 decodes in this process.
        """
        self._hidden_states = hidden_states
        self._store = store
        self._kind = kind
        self._frame_bytes = frame_bytes
        self._limit_bytes = limit_bytes
        self._most_samples = most_samples
        self._num_workers = num_workers

    def prepare(self, utterances: Utterances) -> None:
        """Find the hashes of all utterances, and compute the missing features.

        The same call resumes after an interruption. If several processes need the same utterances, one computes them
        and the others wait for it.

        Raises:
            UserError: the features do not fit on the disk, are not finite, or need too much memory; or audio cannot be
                read.
        """
        with measuring("reading"):
            self._prepare(utterances)

    def _prepare(self, utterances: Utterances) -> None:
        hashes = utterances.hashes
        if hashes.unknown() and not self._fits_whole(utterances):
            # The exact size decides what is removed or refused.
            self._find_hashes(utterances)
        if not self._missing(utterances):
            return
        with (
            claimed(self._claim(hashes), wait=True),
            room_to_grow(self._store.folder, lambda: self._missing_bytes(utterances), self._limit_bytes) as written,
        ):
            missing = self._missing(utterances)
            if missing:
                size = size_text(self._missing_bytes(utterances))
                logger.info("features: computing %d utterances, %s", len(missing), size)
                self._compute(missing, utterances, written)
        if self._missing(utterances):
            raise UserError(
                f"Features written to {self._store.folder} cannot be read back. Check the disk, and run again."
            )

    def __getitem__(self, name: str) -> Tensor:
        """Return (frames or 1, states, dim), in the stored precision."""
        return self._store[name]

    def _missing(self, utterances: Utterances) -> list[int]:
        """Return positions of utterances whose features are missing or whose hash is unknown, each waveform once."""
        known = utterances.hashes.known()
        missing = self._store.find(known)
        return sorted([*utterances.hashes.unknown(), *(known[name] for name in missing)])

    def _missing_bytes(self, utterances: Utterances) -> int:
        positions = self._missing(utterances)
        frames = sum(1 if self._kind == "means" else utterances.num_frames[position] for position in positions)
        return frames * self._frame_bytes

    def _fits_whole(self, utterances: Utterances) -> bool:
        """Return whether there is room even if no utterance without a hash is stored yet."""
        return self._limit_bytes is None and self._missing_bytes(utterances) <= free_for_features(self._store.folder)

    def _find_hashes(self, utterances: Utterances) -> None:
        hashes = utterances.hashes
        unknown, total = hashes.unknown(), len(utterances.paths)
        found = decoded(unknown, utterances.decode, self._num_workers)
        for one in tracked(found, "reading audio", total, "files", done=total - len(unknown)):
            hashes[one.position] = one.sha256
        hashes.write()

    def _claim(self, hashes: WaveformHashes) -> Path:
        """Return the lock file of these utterances in this store.

        The lock covers these utterances only, so tasks on other corpora with the same upstream do not wait.
        """
        folder = self._store.folder
        names = [hashes.name] if hashes.unknown() else sorted(hashes.known())
        wanted = hashlib.sha256("".join([folder.name, *names]).encode()).hexdigest()[:40]
        # Next to the store, not inside: pruning the store must not free the claim.
        return folder.parent / f"features-{wanted}.lock"

    def _compute(self, positions: Sequence[int], utterances: Utterances, written: Callable[[int], None]) -> None:
        if self._most_samples:
            # The longest first, so that too little memory shows at once.
            positions = sorted(positions, key=lambda position: -utterances.num_samples[position])
        found = tracked(
            decoded(positions, utterances.decode, self._num_workers), "features", len(positions), "utterances"
        )
        with _Packs(self._store, written) as packs:
            for batch in batches_of_one_length(self._without_stored(found, utterances), self._most_samples):
                first = batch[0]
                with naming_recording(utterances.paths[first.position], len(first.waveform) / SAMPLE_RATE_HZ):
                    states = self._hidden_states(torch.stack([one.waveform for one in batch]))
                    for one, each in zip(batch, states, strict=True):
                        packs.add(one.sha256, stored(each, self._kind))
        utterances.hashes.write()

    def _without_stored(self, found: Iterator[Decoded], utterances: Utterances) -> Iterator[Decoded]:
        """Note the hashes, and leave out utterances that turn out to be stored, or to repeat another."""
        seen: set[str] = set()
        for one in found:
            was_known = utterances.hashes[one.position] is not None
            utterances.hashes[one.position] = one.sha256
            if one.sha256 not in seen and (was_known or self._store.find([one.sha256])):
                yield one
            seen.add(one.sha256)


def stored(states: Tensor, kind: Kind) -> Tensor:
    """Reduce one utterance's hidden states (frames, states, dim) to what is stored, on the CPU.

    Raises:
        UserError: they are not finite in the stored precision.
    """
    return reduced(states, kind).to("cpu").contiguous()


def reduced(states: Tensor, kind: Kind) -> Tensor:
    """Reduce one utterance's hidden states as `stored` does, on their device."""
    kept = (states.mean(dim=0, keepdim=True) if kind == "means" else states).to(DTYPES[kind])
    # The sum of values with NaN or infinity is not finite either, and takes a tenth of the time of a full check.
    if not torch.isfinite(kept.float().sum()):
        raise UserError(
            f"Expected finite hidden states within {DTYPES[kind]}. Found others in an utterance of {len(states)} "
            "frames. The upstream's weights are unusable for --protocol cached: compress or convert it again, or use "
            "--protocol s3prl."
        )
    return kept


class _Packs:
    """Gathers features into packs, and writes one pack while the next is computed."""

    def __init__(self, store: FeatureStore, written: Callable[[int], None]) -> None:
        self._store = store
        self._written = written
        self._writer = ThreadPoolExecutor(1, "features-writer")
        self._writing: Future[None] | None = None
        self._pack: dict[str, Tensor] = {}
        self._pack_bytes = 0
        self._begun = time.monotonic()

    def __enter__(self) -> _Packs:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
            self._wait()
        finally:
            self._writer.shutdown()

    def add(self, name: str, features: Tensor) -> None:
        """Add an utterance's features."""
        self._pack[name] = features
        self._pack_bytes += features.nbytes
        if self._pack_bytes >= PACK_BYTES or time.monotonic() - self._begun > PACK_INTERVAL_S:
            self._flush()

    def _flush(self) -> None:
        self._wait()
        if self._pack:
            self._writing = self._writer.submit(self._write, self._pack)
        self._pack, self._pack_bytes, self._begun = {}, 0, time.monotonic()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, pack: Mapping[str, Tensor]) -> None:
        self._store.add(pack)
        self._written(sum(tensor.nbytes for tensor in pack.values()))
