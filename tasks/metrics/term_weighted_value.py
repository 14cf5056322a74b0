"""Maximum term-weighted value (MTWV) of spoken term detection, with the costs of QUESST 2014.

Source: QUESST's ``score-TWV-Cnxe.sh`` (P_target=0.0008, C_fa=1, C_miss=100), and Anguera et al., "Query by Example
Search on Speech at MediaEval 2014".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TARGET_PRIOR = 0.0008
FALSE_ALARM_COST = 1.0
MISS_COST = 100.0
FALSE_ALARM_WEIGHT = FALSE_ALARM_COST * (1 - TARGET_PRIOR) / (MISS_COST * TARGET_PRIOR)
"""Beta, 12.49: how much worse it is to accept all wrong documents than to miss all right ones."""


class TermWeightedValue(NamedTuple):
    """The best value over all thresholds."""

    value: float
    threshold: float
    """The smallest accepted score; infinite if accepting nothing is best."""


def maximum_term_weighted_value(
    scores: NDArray[np.float64],
    is_match: NDArray[np.bool_],
    num_matches: Sequence[int],
    num_queries: int,
    num_documents: int,
) -> TermWeightedValue:
    """Return ``max over t of 1 - mean over queries of (P_miss(t) + beta * P_false_alarm(t))``.

    A threshold accepts all scores that are not smaller. One that accepts nothing has the value 0. Trials without a
    score count as never accepted: the queries that were not searched for (``num_queries`` beyond the rows of
    ``scores``), and the documents that were not searched.

    Args:
        scores: (queries, documents).
        is_match: (queries, documents), whether the document holds the query.
        num_matches: documents with each query, including those that were not searched. Queries without any are left
            out, as in QUESST's scorer.
        num_queries: all queries with matches, including those that were not searched for.
        num_documents: all documents, including those that were not searched.
    """
    counts = np.asarray(num_matches, dtype=np.float64)
    is_scored = counts > 0
    hits = 1 / np.maximum(counts, 1)[:, None]
    alarms = -FALSE_ALARM_WEIGHT / np.maximum(num_documents - counts, 1)[:, None]
    gains = np.where(is_match, hits, alarms)[is_scored].ravel() / num_queries
    flat = scores[is_scored].ravel()
    order = np.argsort(-flat, kind="stable")
    values, ordered = np.cumsum(gains[order]), flat[order]
    is_last_of_tie = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    values, thresholds = values[is_last_of_tie], ordered[is_last_of_tie]
    if not len(values) or values.max() <= 0:
        return TermWeightedValue(0.0, math.inf)
    best = int(values.argmax())
    return TermWeightedValue(float(values[best]), float(thresholds[best]))
