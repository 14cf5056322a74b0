"""Random streams that depend on what they are for, not on the order in which they are asked for."""

from __future__ import annotations

import hashlib

import numpy as np

GENERATOR_VERSION = "3"
"""Identity of the corpora's content: any change to what is heard or written is another version."""
# Apart from the version, so that a change to one corpus leaves the others as they are, bit for bit.
_STREAMS = "2"


def random_state(seed: int, *purpose: str) -> np.random.RandomState:
    """Make the stream of one purpose, e.g. ``("asr", "train", "speakers")``.

    ``RandomState`` because its streams are frozen: numpy's newer generators may change between releases.
    """
    key = "\x1f".join((_STREAMS, str(seed), *purpose))
    return np.random.RandomState(np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4"))
