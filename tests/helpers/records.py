"""Records of cells, with scores of our choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import registry
from bench.contracts import SuperbStandard
from bench.leaderboard.score import SUPERB_ANCHORS
from bench.store.records import Cell, ModelCard, Record


def record(model: str, task: str, seed: int = 0, teacher: str | None = None, **scores: float) -> Record:
    return Record(
        cell=Cell(model=model, task=task, seed=seed),
        card=ModelCard(compressor="a" if teacher else "none", teacher=teacher, params=1, size_bytes=4),
        preset="mini",
        data="mini-1",
        protocol="cached",
        scores={"test": scores},
        settings={},
        provenance={},
    )


def standard_record(task: str) -> Record:
    """A cell as SUPERB has it, its scores the paper's best."""
    ends = {metric: anchors.state_of_the_art / 100 for metric, anchors in SUPERB_ANCHORS[task].items()}
    standard: SuperbStandard = registry.load("bench.tasks", task).superb_standard
    settings: dict[str, Any]
    if isinstance(standard.num_test_utterances, Mapping):
        folds = standard.num_test_utterances
        settings = {"folds": {fold: counts(standard.total_steps, size, 0) for fold, size in folds.items()}}
    else:
        settings = counts(standard.total_steps, standard.num_test_utterances, standard.num_train_utterances or 1)
        if standard.num_documents:
            settings["num_documents_utterances"] = standard.num_documents
    plain = record("model", task, **ends)
    return plain.model_copy(update={"preset": "paper", "protocol": "s3prl", "settings": settings})


def counts(steps: int, num_test: int, num_train: int) -> dict[str, Any]:
    sizes = {"num_test_utterances": num_test, "num_train_utterances": num_train}
    return {"arguments": {"train": {"total_steps": steps}}, **sizes}
