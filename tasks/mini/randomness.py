"""Random streams that depend on their purpose, not on the order of their use."""

from __future__ import annotations

import hashlib

import numpy as np

GENERATOR_VERSION = "4"
"""Version of the corpora's content. Any change of audio or labels needs a new version."""
# Separate from the version, so that a change to one corpus leaves the others bit-identical.
_STREAMS = "2"


def random_state(seed: int, *purpose: str) -> np.random.RandomState:
    """Return the random stream of one purpose, e.g. ``("asr", "train", "speakers")``.

    ``RandomState`` because its streams are frozen: numpy's newer generators may change between releases.
    """
    key = "\x1f".join((_STREAMS, str(seed), *purpose))
    return np.random.RandomState(np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4"))
