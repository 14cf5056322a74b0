"""Search for spoken queries: alignment costs, and s3prl's own scores of the same features."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from dtw import dtw
from scipy.spatial.distance import cdist

from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.spoken_search import alignment
from tasks.spoken_search.alignment import alignment_costs, padded
from tasks.spoken_search.recordings import Recordings
from tasks.spoken_search.search import Search, SearchSettings


def frames(lengths: list[int], dim: int = 6, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, dim, generator=generator, dtype=torch.float64) for length in lengths]


def cost_by_dtw_python(query: torch.Tensor, document: torch.Tensor, distance: str) -> float:
    cells = cdist(query.numpy(), document.numpy(), "cosine")
    if distance == "cosine_exp":
        cells = np.exp(cells) - 1
    low, high = cells.min(1, keepdims=True), cells.max(1, keepdims=True)
    cells = (cells - low) / np.clip(high - low, 1e-9, None)
    return float(dtw(cells, step_pattern="asymmetric", open_begin=True, open_end=True).normalizedDistance)


@pytest.mark.parametrize("distance", ["cosine_exp", "cosine"])
@pytest.mark.parametrize("most_cells", [1, 1_000, 2**22])
def test_costs_are_those_of_dtw_python(monkeypatch: pytest.MonkeyPatch, distance: Any, most_cells: int) -> None:
    """Of queries and documents of many lengths, padded in one batch, with a document shorter than the queries."""
    monkeypatch.setitem(alignment.MOST_CELLS, "cpu", most_cells)
    queries, documents = frames([5, 7, 12, 30]), frames([1, 2, 3, 9, 20, 41], seed=1)
    found = alignment_costs(queries, padded(documents), distance)
    expected = [[cost_by_dtw_python(one, other, distance) for other in documents] for one in queries]
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-12)


def test_a_query_costs_nothing_where_it_was_cut_from() -> None:
    (document,) = frames([40])
    costs = alignment_costs([document[10:25]], padded([document, *frames([40, 40], seed=1)]), "cosine_exp")
    assert costs[0, 0] < 1e-9
    assert costs[0, 1:].min() > 0.01


@pytest.fixture
def tables(tmp_path: Path, write_tone: Callable[..., None]) -> dict[str, pd.DataFrame]:
    """Documents and queries of several lengths. The last query of dev has fewer than five frames."""
    lengths_s = {"documents": (0.5, 0.8, 0.6, 1.1, 0.7), "dev": (0.3, 0.4, 0.08), "test": (0.35, 0.2)}
    made = {}
    for split, lengths in lengths_s.items():
        names = [f"{split}{index}" for index in range(len(lengths))]
        for index, (name, length_s) in enumerate(zip(names, lengths, strict=True)):
            write_tone(tmp_path / f"{name}.wav", length_s, 150.0 + 40 * index + 7 * len(split))
        made[split] = pd.DataFrame(
            {
                "id": names,
                "wav_path": [str(tmp_path / f"{name}.wav") for name in names],
                "num_samples": [round(length_s * 16_000) for length_s in lengths],
            }
        )
    return made


@pytest.fixture
def make_search(tables: dict[str, pd.DataFrame], tmp_path: Path) -> Callable[..., Search]:
    def make(
        upstream: Any, name: str = "search", most_samples: int = 20_000, dtype: torch.dtype = torch.float64
    ) -> Search:
        return Search(tables, upstream, "cpu", SearchSettings("cosine_exp", most_samples, dtype), tmp_path / name)

    return make


def scores_by_s3prl(
    upstream: Any, tables: dict[str, pd.DataFrame], split: str, state: int, folder: Path, monkeypatch: Any
) -> dict[str, dict[str, float]]:
    """Let s3prl's own code score one hidden state, and read the file that it writes for the scorer."""
    s3prl_compat.install()
    monkeypatch.setitem(sys.modules, "s3prl.downstream.quesst14_dtw.dataset", SimpleNamespace(QUESST14Dataset=object))
    module: Any = importlib.import_module("s3prl.downstream.quesst14_dtw.expert")
    config = {
        "max_workers": 1,
        "feature_normalization": True,
        "silence_frame": None,
        "datarc": {},
        "dtwrc": {
            "dist_method": "cosine_exp",
            "minmax_norm": True,
            "step_pattern": "asymmetric",
            "subsequence": True,
        },
    }
    expert = module.DownstreamExpert(upstream.dim, config, str(folder))
    expert.test_dataset = SimpleNamespace(n_queries=len(tables[split]))
    records: dict[str, list[Any]] = {"features": [], "audio_names": []}
    for part in (split, "documents"):
        recordings = Recordings(part, tables[part], upstream, "cpu", 1, 0)
        for batch in sorted(recordings.batches, key=lambda batch: batch.rows[0]):
            feature = recordings.states(batch)[0][state].clone()
            expert(split, [feature], [tables[part]["id"][batch.rows[0]]], records)
    expert.log_records(split, records)
    root = ElementTree.parse(folder / "benchmark.stdlist.xml").getroot()
    return {terms.attrib["termid"]: {one.attrib["file"]: float(one.attrib["score"]) for one in terms} for terms in root}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_scores_are_s3prls(
    make_search: Any, upstream: Any, tables: Any, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its normalisation, its rule for short queries and its rounding."""
    expected = scores_by_s3prl(upstream, tables, split, 1, tmp_path, monkeypatch)
    found = make_search(upstream).scores(split, [1])[1]
    for row, query in enumerate(tables[split]["id"]):
        theirs = [expected[query][name] for name in tables["documents"]["id"]]
        assert found[row].tolist() == pytest.approx(theirs, abs=1.01e-4)
    assert (found[2] == 0).all() if split == "dev" else found.any()


@pytest.mark.parametrize("most_samples", [1, 30_000, 10**9])
@pytest.mark.parametrize("most_bytes", [0, 10**9])
def test_batches_and_memory_do_not_change_scores(
    make_search: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch, most_samples: int, most_bytes: int
) -> None:
    expected = make_search(upstream).scores("dev", range(3))
    monkeypatch.setattr("tasks.spoken_search.search.MOST_DOCUMENT_BYTES", most_bytes)
    monkeypatch.setattr("tasks.spoken_search.search.MOST_QUERY_BYTES", 16 * 3 * 4 * 20)
    found = make_search(upstream, "other", most_samples).scores("dev", range(3))
    assert all(np.array_equal(found[state], expected[state]) for state in range(3))


def test_single_precision_is_close(make_search: Any, upstream: Any) -> None:
    exact = make_search(upstream).scores("dev", [2])[2]
    assert make_search(upstream, "other", dtype=torch.float32).scores("dev", [2])[2] == pytest.approx(exact, abs=1e-3)


def test_goes_on_after_a_kill(make_search: Any, upstream: Any, make_upstream: Any) -> None:
    """What a killed process has matched is not matched again."""
    straight = make_search(upstream, "straight", 1).scores("dev", range(3))
    killed = make_upstream()
    killed.forwards_left = 10
    with pytest.raises(KeyboardInterrupt):
        search = make_search(killed, "killed", 1)
        search._documents._is_kept = False  # So that forward passes count what is done.
        search.scores("dev", range(3))
    killed.forwards_left, killed.lengths = None, []
    search = make_search(killed, "killed", 1)
    found = search.scores("dev", range(3))
    assert all(np.array_equal(found[state], straight[state]) for state in range(3))
    assert len(killed.lengths) < 3 + 5 + 5
    killed.lengths = []
    make_search(killed, "killed", 1).scores("dev", range(3))
    assert killed.lengths == []


def test_hidden_states_must_be_finite(make_search: Any, make_upstream: Any) -> None:
    broken = make_upstream()
    with torch.no_grad():
        broken.layers[1].weight.fill_(torch.nan)
    with pytest.raises(UserError, match="finite hidden states"):
        make_search(broken).scores("dev", [0])
