"""Records of cells, with scores of our choice."""

from __future__ import annotations

from typing import Any

from bench.leaderboard.score import SUPERB_ANCHORS
from bench.leaderboard.standard_corpora import ER_TEST_UTTERANCES, STANDARDS
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
    if task == "er":
        settings: dict[str, Any] = {
            "folds": {fold: counts(30_000, size, 0) for fold, size in ER_TEST_UTTERANCES.items()}
        }
    else:
        standard = STANDARDS[task]
        settings = counts(standard.total_steps, standard.num_test_utterances, standard.num_train_utterances or 1)
    plain = record("model", task, **ends)
    return plain.model_copy(update={"preset": "paper", "protocol": "s3prl", "settings": settings})


def counts(steps: int, num_test: int, num_train: int) -> dict[str, Any]:
    sizes = {"num_test_utterances": num_test, "num_train_utterances": num_train}
    return {"arguments": {"train": {"total_steps": steps}}, **sizes}
