"""Finished runs on disk, made of real records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.store.records import Cell, ModelCard, Record, RecordStore

Scores = Mapping[str, Mapping[str, tuple[float, ...]]]
"""Model to task to the fraction of each seed: the accuracy, or ASR's WER."""

STUDENT_SCORES: Scores = {
    "teacher": {"ks": (0.8, 0.9), "asr": (0.2, 0.2)},
    "small": {"ks": (0.6, 0.5), "asr": (0.4, 0.5)},
    "large": {"ks": (0.7, 0.7), "asr": (0.25, 0.35)},
    "worse": {"ks": (0.5, 0.5), "asr": (0.5, 0.6)},
}
COSTS = {"teacher": 1000, "small": 250, "twin": 250, "large": 500, "worse": 600, "fbank": 0}


def run_writer(root: Path) -> Callable[..., Path]:
    """Return what writes runs below a folder."""

    def write(name: str = "run", scores: Scores = STUDENT_SCORES, **changes: Any) -> Path:
        folder = root / name
        references = {model: model for model in scores if model in ("teacher", "fbank")}
        config = {
            "teacher": "teacher",
            "data": {"name": "mini", "tasks": {}},
            "preset": "mini",
            "seeds": [0],
            "models": {model: {"reference": references.get(model)} for model in scores},
            "tasks": {},
        }
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        for model, tasks in scores.items():
            card = ModelCard(
                compressor="none" if model in references else "dphubert",
                teacher=None if model in references else "teacher",
                params=COSTS.get(model, 300),
                size_bytes=4 * COSTS.get(model, 300),
                macs_superb=2 * COSTS.get(model, 300),
            )
            for task, values in tasks.items():
                for seed, value in enumerate(values):
                    metric = "wer" if task == "asr" else "accuracy"
                    record = {
                        "cell": Cell(model=model, task=task, seed=seed),
                        "card": card,
                        "preset": "mini",
                        "data": "mini-1",
                        "protocol": "cached",
                        "scores": {"test": {metric: value}, "dev": {metric: 0.0}},
                        "settings": {},
                        "provenance": {},
                    }
                    RecordStore(folder).write(Record.model_validate(record | changes), [])
        return folder

    return write
