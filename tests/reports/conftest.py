"""Runs on disk, made of real records and models, as figures are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.upstream.checkpoint import save_upstream
from bench.upstream.config import ConvLayerShape, ReducedLinear, TransformerLayerShape, UpstreamConfig, uniform_config
from bench.upstream.random_shapes import random_model
from tests.helpers.run_folders import run_writer
from tests.helpers.table_runs import Write, row_writer

TEACHER = uniform_config("hubert", dim=32, num_layers=3, total_heads=4, feed_forward=64, conv_channels=8)
HISTORY = """stage,update,loss,distillation,expected_sparsity,target_sparsity,lambda1,lambda2,learning_rate
joint,10,-0.3,-0.4,0.1,0.02,0.01,10.0,0.0003
joint,20,-0.5,-0.5,0.7,0.75,0.06,10.5,0.0006
final,5,-0.7,,,,,,0.0001
final,10,-0.8,,,,,,0.0
"""


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run's folder: records and configuration, no models."""
    return run_writer(tmp_path)


@pytest.fixture
def write_rows(tmp_path: Path) -> Write:
    """Write a run's folder from rows with scores by task and metric."""
    return row_writer(tmp_path)


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
