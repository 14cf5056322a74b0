"""Detects divergence in the rows of ``training.csv``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

ROWS = 3
"""Consecutive suspicious rows that count as divergence. A single one may be an odd batch."""
GRADIENT_NORM_RATIO = 30.0
"""Suspicious gradient norm over the median of earlier rows. HuBERT's stays within a factor of ten after the warm-up."""
FEWEST_EARLIER = 4
"""Fewest rows for a median of gradient norms."""


def suspicious_rows(rows: Sequence[Mapping[str, Any]], max_loss_ratio: float) -> int:
    """Count the latest consecutive rows that look like divergence.

    Args:
        rows: rows of one stage, in order, with ``loss`` and ``gradient_norm``.
        max_loss_ratio: a loss above this many times the lowest of earlier rows is suspicious. So is a gradient norm of
            30 times the median of earlier rows.

    Returns:
        0 if the latest row is not suspicious.
    """
    count = 0
    while count < len(rows) and _is_suspicious(rows[: len(rows) - count], max_loss_ratio):
        count += 1
    return count


def _is_suspicious(rows: Sequence[Mapping[str, Any]], max_loss_ratio: float) -> bool:
    *earlier, last = rows
    if not earlier:
        return False
    if last["loss"] > max_loss_ratio * min(row["loss"] for row in earlier):
        return True
    if len(earlier) < FEWEST_EARLIER:
        return False
    usual: float = statistics.median(row["gradient_norm"] for row in earlier)
    return bool(last["gradient_norm"] > GRADIENT_NORM_RATIO * usual)
