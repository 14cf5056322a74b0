"""Where the suite keeps what can be made again: the embedded corpora, upstreams' features, and units of teachers."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_root() -> Path:
    """Return ``$SUPERB_BENCH_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("SUPERB_BENCH_CACHE")
    return Path(chosen).absolute() if chosen else platformdirs.user_cache_path("superb-bench")


def units_root() -> Path:
    """Return the folder of teachers' units: one each, whose ``identity.json`` tells teacher, layer and clusters."""
    return cache_root() / "units"
