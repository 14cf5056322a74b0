"""Is a pruned model as fast as its MACs promise? Ratios only: one run times both models alternately."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import TransformerLayerShape, uniform_config
from bench.upstream.cost import count_dphubert_parameters, count_macs

GATES = Path(__file__).parent.parent / "tests" / "reference" / "gates.json"
NUM_SAMPLES = 154_000
"""9.6 s: the first of SUPERB's longest eight utterances."""
ROUNDS = 7
LARGEST_TIME_RATIO = 0.23


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pruned_by_reference_gates(teacher: UpstreamConfig) -> UpstreamConfig:
    """Return the shape of HuBERT Base pruned to 75 % by the reference implementation."""
    truth = json.loads(GATES.read_text())["pruned_full"]["hubert_base@run_sh_sp75"]
    shape = truth["pruned_config"]
    conv_layers = tuple(
        layer.model_copy(update={"channels": channels})
        for layer, (channels, _, _) in zip(teacher.conv_layers, shape["extractor_conv_layer_config"], strict=True)
    )
    layers = tuple(
        TransformerLayerShape(heads=tuple(range(heads)), feed_forward=width)
        for heads, width in zip(shape["encoder_num_heads"], shape["encoder_ff_interm_features"], strict=True)
    )
    student = teacher.model_copy(update={"conv_layers": conv_layers, "layers": layers})
    assert count_dphubert_parameters(student) == truth["pruned_params_exact"]
    return student


def fastest_forward_s(models: list[UpstreamModel], waveforms: torch.Tensor) -> list[float]:
    """Time the models in turn, and return each one's fastest forward pass in seconds of CPU time.

    CPU time is the least affected by other processes. With one thread, it equals wall-clock time on an idle machine.
    """
    fastest = [float("inf")] * len(models)
    with torch.inference_mode():
        for model in models:
            model(waveforms)
        for _ in range(ROUNDS):
            for index, model in enumerate(models):
                start = time.process_time()
                model(waveforms)
                fastest[index] = min(fastest[index], time.process_time() - start)
    return fastest


@pytest.mark.usefixtures("one_thread")
def test_pruned_hubert_base_is_really_faster() -> None:
    """Forward time falls almost as much as the MACs."""
    teacher = uniform_config("hubert", 768, 12, 12, 3072)
    student = pruned_by_reference_gates(teacher)
    models = [UpstreamModel(config).eval() for config in (teacher, student)]
    teacher_s, student_s = fastest_forward_s(models, torch.randn(1, NUM_SAMPLES))
    macs_ratio = count_macs(student, NUM_SAMPLES) / count_macs(teacher, NUM_SAMPLES)
    Console(soft_wrap=True).print(
        f"\nHuBERT Base {teacher_s:.3f} s, pruned by the reference gates {student_s:.3f} s"
        f" ({NUM_SAMPLES / 16_000:.1f} s of audio, one thread):"
        f" time ratio {student_s / teacher_s:.3f}, MACs ratio {macs_ratio:.3f}"
    )
    assert student_s / teacher_s <= LARGEST_TIME_RATIO
