"""Measures models on one device with a number of threads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.audio.files import SAMPLE_RATE_HZ
from bench.profiling.energy import Counter, cpu_counters, gpu_counters
from bench.profiling.machine import num_cores
from bench.profiling.memory import gpu_peak_memory_bytes
from bench.profiling.models import AnyModel, Timed, dtype_of, engine_of
from bench.profiling.timing import Times, spread, threads, time_call, time_in_turn
from bench.profiling.workloads import BATCH_SIZES, CLIP_DURATION_S, Effort, Lengths, clips, utterances
from bench.store.latency import Spread, Timing

logger = logging.getLogger(__name__)

ENERGY_S = 1.0
"""Shortest time to run a model for its energy: counters advance every millisecond or less often."""


@dataclass(frozen=True)
class Section:
    """One device and a number of threads."""

    device: Literal["cpu", "cuda"]
    num_threads: int

    def __str__(self) -> str:
        return "the GPU" if self.device == "cuda" else f"the CPU, threads: {self.num_threads}"

    def counters(self) -> list[Counter]:
        """Find its energy counters."""
        return gpu_counters() if self.device == "cuda" else cpu_counters()


def sections(*, use_gpu: bool) -> dict[str, Section]:
    """List what to measure, named like the fields of `LatencyRecord`."""
    found = {"cpu": Section("cpu", 1)}
    if num_cores() > 1:
        found["cpu_all_threads"] = Section("cpu", num_cores())
    if use_gpu:
        found["gpu"] = Section("cuda", 1)
    return found


def measure_section(models: Sequence[AnyModel], section: Section, effort: Effort) -> list[Timing]:
    """Time models in turn.

    Args:
        models: the teacher first; the others are compared with it. All are moved to the section's device.
        section: where to run.
        effort: how thoroughly to measure.
    """
    lengths = effort.lengths()
    batches = utterances(lengths, section.device)
    with threads(section.num_threads):
        for model in models:
            model.to(section.device)
        logger.info("timing %d model(s) on %s", len(models), section)
        times = time_in_turn(models, batches, effort.limits())
        throughput = _throughput(models, section, effort, sum(each.rounds().mean() for each in times))
        joules = [_joules_per_audio_s(model, batches, section.counters()) for model in models]
    longest = max(batches, key=lambda batch: batch.shape[1])
    duration_s = _duration_s(lengths)
    return [
        Timing(
            device=section.device,
            num_threads=section.num_threads,
            dtype=dtype_of(model),
            engine=engine_of(model),
            rtf=spread(own.rounds() / duration_s),
            latency_ms=_by_bucket(own, lengths),
            throughput=throughput[index],
            first_call_ms=1e3 * own.first_call_s,
            peak_memory_bytes=_gpu_memory(model, longest) if section.device == "cuda" else None,
            speedup=spread(times[0].rounds() / own.rounds()) if index else None,
            joules_per_audio_s=joules[index],
        )
        for index, (model, own) in enumerate(zip(models, times, strict=True))
    ]


def _gpu_memory(model: AnyModel, batch: Tensor) -> int | None:
    return gpu_peak_memory_bytes(model, batch) if isinstance(model, nn.Module) else None


def _by_bucket(times: Times, lengths: Lengths) -> dict[str, Spread]:
    """Average over the lengths of a bucket, then over repeats."""
    ends = np.cumsum([len(bucket) for bucket in lengths.values()])
    columns = np.split(1e3 * times.seconds, ends[:-1], axis=1)
    return {bucket: spread(column.mean(axis=1)) for bucket, column in zip(lengths, columns, strict=True)}


def _duration_s(lengths: Lengths) -> float:
    return sum(length for bucket in lengths.values() for length in bucket) / SAMPLE_RATE_HZ


def _throughput(models: Sequence[Timed], section: Section, effort: Effort, round_s: float) -> list[dict[str, Spread]]:
    """Time batches of clips. Skip batches that would take too long, judged by the previous workload."""
    found: list[dict[str, Spread]] = [{} for _ in models]
    limits = effort.limits()
    audio_s = _duration_s(effort.lengths())
    for batch_size in BATCH_SIZES:
        batch_s = batch_size * CLIP_DURATION_S
        if round_s * batch_s / audio_s > limits.limit_s:
            logger.info("no batch of %d on %s: it would take too long; --repeats measures it", batch_size, section)
            break
        times = time_in_turn(models, [clips(batch_size, section.device)], limits)
        for own, each in zip(found, times, strict=True):
            own[f"batch_{batch_size}"] = spread(batch_s / each.rounds())
        round_s, audio_s = sum(each.rounds().mean() for each in times), batch_s
    return found


def _joules_per_audio_s(model: Timed, batches: Sequence[Tensor], counters: Sequence[Counter]) -> float | None:
    if not counters:
        return None
    before = [counter.read_joules() for counter in counters]
    seconds, audio_s = 0.0, 0.0
    with torch.inference_mode():
        while seconds < ENERGY_S:
            seconds += sum(time_call(model, batch) for batch in batches)
            audio_s += sum(batch.shape[1] for batch in batches) / SAMPLE_RATE_HZ
    joules = sum(counter.since(start) for counter, start in zip(counters, before, strict=True))
    return joules / audio_s
