"""Runs on disk, made of real records and models, as figures are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.store.records import Cell, ModelCard, Record, RecordStore
from bench.upstream.checkpoint import save_upstream
from bench.upstream.config import ConvLayerShape, ReducedLinear, TransformerLayerShape, UpstreamConfig, uniform_config
from bench.upstream.random_shapes import random_model

TEACHER = uniform_config("hubert", dim=32, num_layers=3, total_heads=4, feed_forward=64, conv_channels=8)
HISTORY = """stage,update,loss,distillation,expected_sparsity,target_sparsity,lambda1,lambda2,learning_rate
joint,10,-0.3,-0.4,0.1,0.02,0.01,10.0,0.0003
joint,20,-0.5,-0.5,0.7,0.75,0.06,10.5,0.0006
final,5,-0.7,,,,,,0.0001
final,10,-0.8,,,,,,0.0
"""

Scores = Mapping[str, Mapping[str, tuple[float, ...]]]
"""Model to task to the fraction of each seed: the accuracy, or ASR's WER."""

STUDENT_SCORES: Scores = {
    "teacher": {"ks": (0.8, 0.9), "asr": (0.2, 0.2)},
    "small": {"ks": (0.6, 0.5), "asr": (0.4, 0.5)},
    "large": {"ks": (0.7, 0.7), "asr": (0.25, 0.35)},
    "worse": {"ks": (0.5, 0.5), "asr": (0.5, 0.6)},
}
COSTS = {"teacher": 1000, "small": 250, "large": 500, "worse": 600, "fbank": 0}


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run's folder: records and configuration, no models."""
    return run_writer(tmp_path)


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


@pytest.fixture
def save_student(tmp_path: Path) -> Callable[..., UpstreamConfig]:
    """Save a pruned student of ``TEACHER`` into a run."""

    def save(
        run: Path, name: str, reduced: Mapping[str, ReducedLinear] | None = None, **provenance: Any
    ) -> UpstreamConfig:
        shape = TEACHER.model_copy(
            update={
                "conv_layers": tuple(
                    ConvLayerShape(channels=8 - index, kernel=layer.kernel, stride=layer.stride)
                    for index, layer in enumerate(TEACHER.conv_layers)
                ),
                "layers": (
                    TransformerLayerShape(heads=(1, 3), feed_forward=10),
                    TransformerLayerShape(heads=(), feed_forward=64),
                    TransformerLayerShape(heads=(0,), feed_forward=0),
                ),
            }
        ).with_reduced_linears(reduced or {})
        history = run.parent / "training.csv"
        history.write_text(HISTORY)
        save_upstream(random_model(shape), run / "models" / name, provenance, beside=[history])
        return shape

    return save
