"""The tables of docs/reference/estimates.md: GPU hours, memory and disk at preset ``paper``. Nothing is measured.

Usage: ``python -m benchmarks.cluster_estimates [--training-tflops 30] [--features-tflops 10]``. It takes half a minute
on a CPU.

- Hours: counted MACs, two operations each, divided by the throughput.
- Memory of training: 16 bytes per parameter of the student (weights, gradients, two moments of Adam) and 4 of the
  teacher, plus activations: the tensors that a forward pass keeps for the backward pass, counted in float32 without
  computing anything. bf16 keeps half of most of them. Gates and temporary tensors are not counted.
- Memory of evaluation: weights, and the hidden states of one training batch in float32.
- Features: the sizes that tasks announce.
- Evaluation: one learning rate. The preset ``paper`` tries five.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Annotated, Any

import torch
import typer

from bench import registry
from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Context, EvaluationWork, SplitSize
from bench.runs.checks import COPIES_OF_WEIGHTS_ON_DISK
from bench.runs.estimates import FEATURES_TFLOPS, TRAINING_TFLOPS, hours_at
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.cost import count_macs, count_parameters
from bench.upstream.random_shapes import SHAPES
from compressors.distill_only import student_shape
from compressors.students.shapes import thin_student_shape

TEACHERS = {
    "HuBERT Base": "hubert_base",
    "HuBERT Large": "hubert_large",
    "WavLM Base+": "wavlm_base_plus",
    "WavLM Large": "wavlm_large",
}
COMPRESSORS = ("dphubert", "prune-only", "low-rank", "distill-only", "masked-distill")
STUDENTS: dict[str, Callable[[UpstreamConfig, Any], UpstreamConfig]] = {
    "distill-only": student_shape,
    "masked-distill": thin_student_shape,
}
"""Shape of a student that is smaller than its teacher from the start."""

CORPORA = {
    "librispeech": {"train": (28_539, 100.6), "dev": (2_703, 5.4), "test": (2_620, 5.4)},
    "speech_commands": {"train": (51_094, 14.2), "dev": (6_798, 1.9), "test": (3_081, 0.9)},
    "voxceleb1": {"train": (138_361, 315.2), "dev": (6_904, 15.7), "test": (8_251, 18.8)},
    "iemocap": {
        f"session{number}": (size, size * 4.5 / 3600) for number, size in enumerate((1085, 1023, 1151, 1031, 1241), 1)
    },
    "fluent_speech_commands": {"train": (23_132, 14.7), "dev": (3_118, 1.9), "test": (3_793, 2.4)},
    "snips": {"train": (104_672, 101.8), "dev": (2_800, 2.7), "test": (2_800, 2.7)},
    "voxceleb1_trials": {"train": (148_642, 338.6), "dev": (4_708, 10.7), "test": (4_708, 10.7)},
    "librimix": {"train": (13_900, 58.0), "dev": (3_000, 11.0), "test": (3_000, 11.0)},
    "quesst14": {"documents": (2_438, 4.5), "dev": (138, 0.05), "test": (138, 0.05)},
}
"""Utterances and hours of each split. Mean lengths of VoxCeleb1 (8.2 s), IEMOCAP (4.5 s), SNIPS (3.5 s), Speech
Commands (1 s) and QUESST 2014 (6.6 s, queries 1.3 s) are assumptions, as is the number of recordings in ASV's dev
trials.

Source: ``tasks/data_check/known_corpora.csv``, and the papers of the corpora.
"""
TASKS = {
    "asr": "librispeech",
    "pr": "librispeech",
    "ks": "speech_commands",
    "sid": "voxceleb1",
    "er": "iemocap",
    "ic": "fluent_speech_commands",
    "sf": "snips",
    "asv": "voxceleb1_trials",
    "sd": "librimix",
    "qbe": "quesst14",
}
FIXED_RATE = 1e-4
"""Any one learning rate; the preset ``paper`` tries several."""

ACTIVATIONS_S = 10.0
"""Length of the utterance whose kept tensors are counted."""


def sizes_of(task: str) -> dict[str, SplitSize]:
    """Return the sizes of a task's splits."""
    return {split: SplitSize(number, hours * 3600) for split, (number, hours) in CORPORA[TASKS[task]].items()}


@cache
def activation_bytes_a_second(shape: UpstreamConfig) -> float:
    """Count the bytes that a float32 forward pass keeps for the backward pass, per second of speech."""
    num_samples = int(ACTIVATIONS_S * SAMPLE_RATE_HZ)
    with torch.device("meta"):
        model = UpstreamModel(shape).train()
        waveforms = torch.zeros(1, num_samples)
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(waveforms, torch.tensor([num_samples], device="cpu"))
    return sum(storage.nbytes() for storage in kept.values()) / ACTIVATIONS_S


def compression_rows(tflops: float) -> Iterable[list[str]]:
    """Return a row per teacher and compressor."""
    for title, name in TEACHERS.items():
        teacher = SHAPES[name]
        for compressor in COMPRESSORS:
            plugin = registry.load("bench.compressors", compressor)
            config = plugin.presets["paper"]
            work = plugin(config).training_work(teacher)
            student = STUDENTS[compressor](teacher, config) if compressor in STUDENTS else teacher
            state_bytes = 16 * count_parameters(student) + 4 * count_parameters(teacher)
            activation_bytes = activation_bytes_a_second(student) * config.seconds_per_batch
            yield [
                title,
                compressor,
                f"{work.updates:,}",
                f"{work.audio_s / 3600:,.0f}",
                figure(work.macs / 1e18),
                figure(hours_at(tflops, work.macs)),
                figure(state_bytes / 1e9),
                figure(activation_bytes / 1e9),
            ]


def evaluation_work(task: str, protocol: Any, device: Any) -> EvaluationWork:
    """Estimate one cell of a task at preset ``paper``, at one learning rate."""
    work: EvaluationWork = paper_config(task).evaluation_work(sizes_of(task), Context(protocol=protocol, device=device))
    return work


def paper_config(task: str) -> Any:
    """Return a task's preset ``paper`` at one learning rate."""
    config = registry.load("bench.tasks", task).presets["paper"]
    return config.model_copy(update={"learning_rate": FIXED_RATE}) if hasattr(config, "learning_rate") else config


def tasks() -> list[str]:
    """Return the tasks that are installed."""
    return [task for task in TASKS if task in registry.names("bench.tasks")]


def evaluation_rows(tflops: float, protocol: str) -> Iterable[list[str]]:
    """Return a row per task: the hours of each teacher in one protocol on a GPU."""
    for task in tasks():
        work = evaluation_work(task, protocol, "cuda")
        mean_samples = round(work.audio_s / work.num_utterances * SAMPLE_RATE_HZ)
        hours = [
            hours_at(tflops, work.num_utterances * count_macs(SHAPES[name], mean_samples)) for name in TEACHERS.values()
        ]
        yield [task, f"{work.updates:,}", f"{work.audio_s / 3600:,.0f}", *map(figure, hours)]


def disk_rows() -> Iterable[list[str]]:
    """Return a row per task: gigabytes of features of each teacher, stored on a CPU."""
    for task in (task for task in tasks() if task != "qbe"):  # Its search needs no stored features.
        config = registry.load("bench.tasks", task).presets["paper"]
        yield [task, config.features, *(figure(_feature_bytes(task, SHAPES[name]) / 1e9) for name in TEACHERS.values())]


def _feature_bytes(task: str, shape: UpstreamConfig) -> int:
    config = registry.load("bench.tasks", task).presets["paper"]
    with torch.device("meta"):
        model = UpstreamModel(shape)
    _, num_bytes = config.feature_store(model, "weights", sizes_of(task), Context(device="cpu"))
    return int(num_bytes)


def memory_rows() -> Iterable[list[str]]:
    """Return a row per teacher: gigabytes of weights, and of the hidden states of one training batch of ASR and SID."""
    for title, name in TEACHERS.items():
        shape = SHAPES[name]
        states = [_states_bytes(task, shape) for task in ("asr", "sid")]
        weights = 4 * count_parameters(shape)
        checkpoints = (COPIES_OF_WEIGHTS_ON_DISK - 1) * weights
        yield [title, *(figure(value / 1e9) for value in (weights, *states, checkpoints))]


def _states_bytes(task: str, shape: UpstreamConfig) -> int:
    config = registry.load("bench.tasks", task).presets["paper"]
    train = sizes_of(task)["train"]
    frames = shape.num_frames(round(train.duration_s / train.num_utterances * SAMPLE_RATE_HZ))
    return int(config.batch_size * frames * (shape.num_layers + 1) * shape.dim * 4)


def figure(value: float) -> str:
    """Write a number with two or three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def write_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a Markdown table."""
    lines = [f"\n{title}\n", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")


def main(
    training_tflops: Annotated[float, typer.Option(help="Of training, in bf16.")] = TRAINING_TFLOPS,
    features_tflops: Annotated[float, typer.Option(help="Of features, in float32.")] = FEATURES_TFLOPS,
) -> None:
    """Print the tables of docs/reference/estimates.md."""
    write_table(
        f"Compression to a quarter of the parameters, at {training_tflops:g} TFLOPS",
        ["teacher", "compressor", "updates", "hours of audio", "EMACs", "GPU hours", "states, GB", "activations, GB"],
        compression_rows(training_tflops),
    )
    for protocol in ("s3prl", "cached"):
        write_table(
            f"One cell with --protocol {protocol} on a GPU: GPU hours of the model at {features_tflops:g} TFLOPS",
            ["task", "updates", "hours of audio", *TEACHERS],
            evaluation_rows(features_tflops, protocol),
        )
    write_table("Features on disk with --protocol cached on a CPU, GB", ["task", "features", *TEACHERS], disk_rows())
    write_table(
        "Other memory and disk, GB",
        ["model", "weights", "states of a batch, ASR", "states of a batch, SID", "checkpoints of a compression"],
        memory_rows(),
    )


if __name__ == "__main__":
    typer.run(main)
