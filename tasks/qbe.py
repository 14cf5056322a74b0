"""Query by example: find spoken queries in documents, on QUESST 2014 by SUPERB's recipe. Nothing is trained."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pandas as pd
from pydantic import Field

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import (
    Context,
    Evaluation,
    EvaluationWork,
    Metric,
    Settings,
    SplitSize,
    SuperbStandard,
    Upstream,
)
from bench.contracts.bounds import Utterances
from tasks.corpora.corpus_hash import corpus_folder, corpus_sha256
from tasks.corpora.queries import DOCUMENTS, QUERY_SPLITS, SCORED_COLUMNS, check_queries, limited_queries, matches_of
from tasks.corpora.quesst14 import ManifestQueriesData, Quesst14Data, read_own_queries, read_quesst14
from tasks.corpora.recording_conditions import recording_conditions
from tasks.corpora.splits import split_sizes
from tasks.metrics.term_weighted_value import TermWeightedValue, maximum_term_weighted_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.spoken_search.search import Search

METRIC = "mtwv"
_READ_COLUMNS = {"id", "wav_path", "path", "num_samples", *SCORED_COLUMNS}
BATCHES_ON_GPU = 16
"""A GPU searches this many times as many documents at once as a CPU."""


class QbEConfig(Settings):
    """SUPERB's search: subsequence DTW of every query with every document, on each hidden state alone.

    Hidden states are normalised over the queries of a split and all documents. Distances of each query frame are
    scaled to the range of 0 to 1, and each query's scores to mean 0 and standard deviation 1. The state with the best
    MTWV on dev is tested. Nothing is random, and there is no learning rate.

    Source: s3prl 0.4.18, ``downstream/quesst14_dtw`` and the section QbE of its ``superb.md``.
    """

    distance: Literal["cosine_exp", "cosine"] = "cosine_exp"
    """Distance of two frames: ``exp(1 - cosine) - 1``, or ``1 - cosine``. SUPERB lets it vary and recommends the first
    one."""
    document_batch_s: Annotated[float, Field(ge=0.05, le=86_400.0)] = 80.0
    """Seconds of documents that are searched at once, 16 times as much on a GPU. Less needs less memory. A longer
    document is searched alone."""
    max_eval_utterances: Utterances | None = None
    """Search for fixed subsets of at most this many queries of dev and of test; null searches for all."""
    max_documents: Utterances | None = None
    """Search in a fixed subset of at most this many documents; null searches in all."""

    def evaluation_work(self, sizes: Mapping[str, SplitSize], context: Context) -> EvaluationWork:
        """Estimate the work of one cell; see `bench.contracts.EstimatesWork`."""
        del context
        limits = {DOCUMENTS: self.max_documents, **dict.fromkeys(QUERY_SPLITS, self.max_eval_utterances)}
        numbers = {name: min(size.num_utterances, limits[name] or size.num_utterances) for name, size in sizes.items()}
        shares = {name: numbers[name] / max(1, size.num_utterances) for name, size in sizes.items()}
        duration_s = sum(shares[name] * size.duration_s for name, size in sizes.items())
        return EvaluationWork(updates=0, num_utterances=sum(numbers.values()), audio_s=duration_s, is_stored=False)


class QbE:
    """Query-by-example spoken term detection."""

    name: ClassVar[str] = "qbe"
    summary: ClassVar[str] = "Query by example: QUESST 2014 (English), s3prl's quesst14_dtw (DTW of each hidden state)"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(METRIC, higher_is_better=True, primary=True, is_ratio_of_counts=False),
    )
    config_type: ClassVar[type[Settings]] = QbEConfig
    layouts: ClassVar[dict[str, type[Settings]]] = {"quesst14": Quesst14Data, "manifest": ManifestQueriesData}
    superb_standard: ClassVar[SuperbStandard] = SuperbStandard(
        # The English queries of eval, in the English documents.
        total_steps=0,
        num_test_utterances=138,
        num_documents=2_438,
    )
    presets: ClassVar[dict[str, QbEConfig]] = {
        "paper": QbEConfig(),
        "mini": QbEConfig(),
        "smoke": QbEConfig(max_eval_utterances=8, max_documents=24),
    }

    def __init__(self, config: QbEConfig) -> None:
        """Keep the configuration."""
        self._config = config
        self._checked: dict[Any, dict[str, pd.DataFrame]] = {}

    def read(self, data: Quesst14Data | ManifestQueriesData) -> dict[str, pd.DataFrame]:
        """Read and check the corpus.

        Returns:
            Tables ``documents``, ``dev`` and ``test``; the last two hold queries, see `tasks.corpora.queries`.

        Raises:
            UserError: something is missing or contradictory.
        """
        own = isinstance(data, ManifestQueriesData)
        splits = read_own_queries(data) if own else read_quesst14(data)  # type: ignore[arg-type]
        check_queries(splits, data.matches if own else data.root)  # type: ignore[union-attr]
        return splits

    def check(self, data: Quesst14Data | ManifestQueriesData) -> dict[str, SplitSize]:
        """Refuse a corpus that is missing, incomplete, contradictory or unreadable.

        Returns:
            The size of each table of `read`.

        Raises:
            UserError: something is missing or unusable.
        """
        return self.sizes(data)

    def sizes(self, data: Quesst14Data | ManifestQueriesData) -> dict[str, SplitSize]:
        """Check the corpus; see `bench.contracts.MeasuresData`. The tables are kept for `evaluate`."""
        self._checked[data] = self.read(data)
        return split_sizes(self._checked[data])

    def fingerprint(self, data: Quesst14Data | ManifestQueriesData) -> str:
        """Hash the corpus: recordings, matches and audio; see `bench.contracts.FingerprintsData`."""
        return corpus_sha256(self._tables(data), corpus_folder(data), SCORED_COLUMNS)

    def evaluate(
        self, upstream: Upstream, data: Quesst14Data | ManifestQueriesData, workdir: Path, context: Context
    ) -> Evaluation:
        """Search with every hidden state on dev, and with the best one on test.

        The seed has no effect: all seeds of a model share what the first one computes.

        Raises:
            UserError: an audio file is damaged, or hidden states are not finite or need too much memory.
        """
        from bench.store.claims import claimed

        splits = limited_queries(self._tables(data), self._config.max_eval_utterances, self._config.max_documents)
        folder = (context.shared_workdir or workdir) / "search" / self._identity(upstream, splits, context)
        with claimed(folder.with_suffix(".lock"), wait=True):
            return self._evaluation(self._search(upstream, splits, folder, context), splits, context)

    def _tables(self, data: Any) -> dict[str, pd.DataFrame]:
        return self._checked[data] if data in self._checked else self.read(data)

    def _search(self, upstream: Upstream, splits: Mapping[str, pd.DataFrame], folder: Path, context: Context) -> Search:
        import torch

        from tasks.spoken_search.search import Search, SearchSettings

        batch_s = self._config.document_batch_s * (BATCHES_ON_GPU if context.device == "cuda" else 1)
        # s3prl computes distances in double precision.
        dtype = torch.float64 if context.protocol == "s3prl" else torch.float32
        settings = SearchSettings(self._config.distance, round(batch_s * SAMPLE_RATE_HZ), dtype)
        module: Any = upstream
        return Search(splits, module.to(context.device).eval(), context.device, settings, folder)

    def _evaluation(self, search: Search, splits: Mapping[str, pd.DataFrame], context: Context) -> Evaluation:
        states = range(search.num_states)
        on_dev = search.scores("dev", states)
        values = {state: _value(on_dev[state], splits, "dev") for state in states}
        best = max(states, key=lambda state: values[state].value)
        scores = {"dev": on_dev[best], "test": search.scores("test", [best])[best]}
        found = {"dev": values[best], "test": _value(scores["test"], splits, "test")}
        settings = {
            **self._config.model_dump(mode="json"),
            "layer": best,
            "dev_mtwv_by_layer": [values[state].value for state in states],
            "thresholds": {split: _finite(one.threshold) for split, one in found.items()},
            "seed_has_effect": False,
            **{f"num_{split}_utterances": len(table) for split, table in splits.items()},
            **{f"num_scored_{what}": _scored(splits["test"], what) for what in ("queries", "documents")},
            **_versions(),
            "protocol": context.protocol,
        }
        return Evaluation(
            scores={split: {METRIC: one.value} for split, one in found.items()},
            predictions=[row for split in QUERY_SPLITS for row in _rows(split, scores[split], splits)],
            settings=settings,
        )

    def _identity(self, upstream: Upstream, splits: Mapping[str, pd.DataFrame], context: Context) -> str:
        """Hash everything that scores of pairs depend on."""
        from bench.upstream.checkpoint import weights_hash
        from tasks.bridge.interrupted_work import data_sha256

        identity = {
            "config": self._config.model_dump(mode="json"),
            "upstream": weights_hash(upstream),  # type: ignore[arg-type]
            "data": {name: data_sha256(table) for name, table in splits.items()},
            "protocol": context.protocol,
            "device": context.device,
            "versions": _versions(),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _versions() -> dict[str, str]:
    return {f"{name}_version": importlib.metadata.version(name) for name in ("torch", "torchaudio")}


def _value(scores: NDArray[np.float64], splits: Mapping[str, pd.DataFrame], split: str) -> TermWeightedValue:
    import numpy as np

    queries = splits[split]
    documents = splits[DOCUMENTS]["id"].tolist()
    matches = matches_of(queries)
    is_match = np.array([[name in found for name in documents] for found in matches], dtype=bool)
    return maximum_term_weighted_value(
        scores, is_match, [len(found) for found in matches], _scored(queries, "queries"), _scored(queries, "documents")
    )


def _scored(queries: pd.DataFrame, what: str) -> int:
    return int(queries[f"num_scored_{what}"].iloc[0])


def _finite(threshold: float) -> float | None:
    return threshold if math.isfinite(threshold) else None


def _rows(split: str, scores: NDArray[np.float64], splits: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Return one row per query. It is correct if the document with the highest score holds it."""
    table, documents = splits[split], splits[DOCUMENTS]["id"].tolist()
    further = [column for column in table if column not in _READ_COLUMNS]
    conditions = recording_conditions(table["wav_path"])
    for position, (matches, row) in enumerate(zip(matches_of(table), table.to_dict("records"), strict=True)):
        found = dict(zip(documents, scores[position].tolist(), strict=True))
        yield {
            **conditions.get(row["wav_path"], {}),
            **{str(column): row[column] for column in further},
            "id": row["id"],
            "split": split,
            "reference": sorted(matches),
            "prediction": found,
            "correct": max(found, key=lambda name: found[name]) in matches,
            "duration_s": int(row["num_samples"]) / SAMPLE_RATE_HZ,
        }
