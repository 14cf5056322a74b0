"""Count the GPU hours of SUPERB for HuBERT Base, a table of docs/reference/estimates.md. Nothing is measured.

Usage: ``python -m benchmarks.superb_hours``. It takes some seconds on a CPU.

- One model and seed at one learning rate, preset ``paper``, protocol ``cached``, on a GPU: time means are computed
  once, frames at every step.
- Hours: counted MACs, two operations each, divided by an assumed throughput: 10 TFLOPS in float32 (half the peak of an
  A100), and 100 TFLOPS in bf16 (a third of it). Heads train in float32.
- Corpora: the sizes of ``benchmarks/cluster_estimates.py``.
- Not counted: output layers, the time between operations, reading audio, scoring.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Context, CountsHead
from bench.runs.estimates import FEATURES_TFLOPS, hours_at
from bench.upstream.cost import count_macs
from bench.upstream.random_shapes import SHAPES
from benchmarks.cluster_estimates import evaluation_work, figure, paper_config, sizes_of, tasks, write_table

MODEL = "hubert_base"
BF16_TFLOPS = 100.0


def hours_of(task: str, float32_tflops: float, bf16_tflops: float) -> tuple[float, float, float, float]:
    """Return the hours of audio, and the GPU hours of the model in float32 and in bf16 and of the head."""
    shape = SHAPES[MODEL]
    work = evaluation_work(task, "cached", "cuda")
    mean_samples = round(work.audio_s / work.num_utterances * SAMPLE_RATE_HZ)
    macs = work.num_utterances * count_macs(shape, mean_samples)
    config, context = paper_config(task), Context(device="cuda")
    counted = isinstance(config, CountsHead)
    head = config.head_macs(sizes_of(task), context, shape.num_layers + 1, shape.dim) if counted else 0
    return (
        work.audio_s / 3600,
        hours_at(float32_tflops, macs),
        hours_at(bf16_tflops, macs),
        hours_at(float32_tflops, head),
    )


def rows(float32_tflops: float, bf16_tflops: float) -> Iterable[list[str]]:
    """Return a row per task, and their sum."""
    found = {task: hours_of(task, float32_tflops, bf16_tflops) for task in tasks()}
    found["all"] = tuple(map(sum, zip(*found.values(), strict=True)))  # type: ignore[assignment]
    for task, (audio, float32, bf16, head) in found.items():
        yield [task, *map(figure, (audio, float32, bf16, head, float32 + head, bf16 + head))]


def main(
    float32_tflops: Annotated[float, typer.Option(help="In float32.")] = FEATURES_TFLOPS,
    bf16_tflops: Annotated[float, typer.Option(help="Of features, in bf16.")] = BF16_TFLOPS,
) -> None:
    """Print the table."""
    write_table(
        f"GPU hours of HuBERT Base at {float32_tflops:g} TFLOPS in float32 and {bf16_tflops:g} TFLOPS in bf16",
        ["task", "hours of audio", "model, fp32", "model, bf16", "head", "in all, fp32", "in all, bf16"],
        rows(float32_tflops, bf16_tflops),
    )


if __name__ == "__main__":
    typer.run(main)
