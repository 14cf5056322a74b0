"""Spoken queries and the documents that hold them.

A split's table holds one query per row. Its columns: ``matches``, the ids of the documents with the query as a JSON
list; and the same in every row, ``num_scored_queries`` (queries with a match, including those that are not searched
for) and ``num_scored_documents``, over which misses and false alarms are counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.text import shortened

DOCUMENTS = "documents"
QUERY_SPLITS = ("dev", "test")
SCORED_COLUMNS = ("matches", "num_scored_queries", "num_scored_documents")


def matches_of(table: pd.DataFrame) -> list[set[str]]:
    """Return the ids of the documents with each query."""
    return [set(json.loads(matches)) for matches in table["matches"]]


def with_matches(
    table: pd.DataFrame, matches: Mapping[str, Collection[str]], num_scored_queries: int, num_scored_documents: int
) -> pd.DataFrame:
    """Attach what is scored to the queries of a split.

    Args:
        table: queries, with the column id.
        matches: ids of the documents with each query.
        num_scored_queries: queries with a match.
        num_scored_documents: documents.
    """
    return table.assign(
        matches=[json.dumps(sorted(matches.get(name, ()))) for name in table["id"]],
        num_scored_queries=num_scored_queries,
        num_scored_documents=num_scored_documents,
    )


def check_queries(splits: Mapping[str, pd.DataFrame], place: Path) -> None:
    """Refuse queries that cannot be scored.

    Raises:
        UserError: no query of a split is in a document, or all documents hold every query.
    """
    documents = set(splits[DOCUMENTS]["id"])
    for split in QUERY_SPLITS:
        found = [matches & documents for matches in matches_of(splits[split])]
        if not any(found):
            raise UserError(
                f"Expected documents that hold queries of {split}, in {place}. Found none for any of "
                f"{len(found)} queries, such as {shortened(splits[split]['id'].iloc[0], 60)}. Correct the matches."
            )
        if all(matches == documents for matches in found):
            raise UserError(
                f"Expected documents without some query of {split}, in {place}. Found that all {len(documents)} "
                f"documents hold every query. Add others: the score needs both."
            )


def limited_queries(
    splits: Mapping[str, pd.DataFrame], max_queries: int | None, max_documents: int | None
) -> dict[str, pd.DataFrame]:
    """Draw subsets from the ids alone, and score only these.

    Documents with one of the chosen queries come first, up to half of them.

    Args:
        splits: ``documents``, ``dev`` and ``test``.
        max_queries: of dev and of test. None: all.
        max_documents: None: all.
    """
    documents = splits[DOCUMENTS]
    known = set(documents["id"])
    limited = {split: _drawn_queries(splits[split], max_queries, known) for split in QUERY_SPLITS}
    if max_documents is not None and len(documents) > max_documents:
        wanted = [_ranked(set().union(*matches_of(limited[split])) & known) for split in QUERY_SPLITS]
        first = [name for pair in _alternating(*wanted) for name in pair][: (max_documents + 1) // 2]
        chosen = set(list(dict.fromkeys([*first, *_ranked(known)]))[:max_documents])
        documents = documents[documents["id"].isin(chosen)].reset_index(drop=True)
    is_limited = len(documents) < len(splits[DOCUMENTS]) or any(
        len(limited[split]) < len(splits[split]) for split in QUERY_SPLITS
    )
    if not is_limited:
        return dict(splits)
    searched = set(documents["id"])
    for split, table in limited.items():
        matches = {
            name: found & searched
            for name, found in zip(table["id"], matches_of(table), strict=True)
            if found & searched
        }
        limited[split] = with_matches(table, matches, max(1, len(matches)), len(searched))
    return {DOCUMENTS: documents, **limited}


def _drawn_queries(table: pd.DataFrame, limit: int | None, documents: Collection[str]) -> pd.DataFrame:
    """Draw queries that are in some document first."""
    if limit is None or len(table) <= limit:
        return table
    is_found = {
        name: not matches.isdisjoint(documents) for name, matches in zip(table["id"], matches_of(table), strict=True)
    }
    chosen = sorted(_ranked(is_found), key=lambda name: not is_found[name])[:limit]
    return table[table["id"].isin(chosen)].reset_index(drop=True)


def _alternating(one: Sequence[str], other: Sequence[str]) -> Iterable[tuple[str, ...]]:
    longest = max(len(one), len(other))
    return ((*one[index : index + 1], *other[index : index + 1]) for index in range(longest))


def _ranked(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
