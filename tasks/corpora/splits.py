"""The three splits of a corpus, and their sizes."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import SplitSize

SPLITS = ("train", "dev", "test")


def split_sizes(splits: Mapping[str, pd.DataFrame]) -> dict[str, SplitSize]:
    """Count utterances and add up durations, by split."""
    return {
        split: SplitSize(num_utterances=len(table), duration_s=int(table["num_samples"].sum()) / SAMPLE_RATE_HZ)
        for split, table in splits.items()
    }
