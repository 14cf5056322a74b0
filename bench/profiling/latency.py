"""Latency of models, each alternating with its teacher, on the CPU and on a GPU if there is one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from bench.profiling.machine import load, this_machine
from bench.profiling.memory import cpu_peak_memory_bytes
from bench.profiling.models import is_timed_on, load_model
from bench.profiling.sections import measure_section, sections
from bench.profiling.subjects import Subject
from bench.profiling.workloads import Effort
from bench.provenance import now
from bench.store.latency import LatencyRecord, Timing

logger = logging.getLogger(__name__)

BUSY = 1.0
"""Load per core above which threads mostly wait for each other, so timings say nothing about the model."""


def measure(subjects: Sequence[Subject], effort: Effort, *, use_gpu: bool) -> Iterator[LatencyRecord]:
    """Measure the latency of models, each in a pair with its teacher. At most two are loaded at once.

    Yields:
        One record for each subject, in their order, as soon as it is measured.

    Raises:
        UserError: no such model.
    """
    for number, subject in enumerate(subjects, 1):
        versus = f" in turn with {subject.teacher}" if subject.teacher else ""
        logger.info("model %d of %d: timing %s%s", number, len(subjects), subject.name, versus)
        yield _measured(subject, effort, use_gpu=use_gpu)


def _measured(subject: Subject, effort: Effort, *, use_gpu: bool) -> LatencyRecord:
    machine = this_machine()
    timings = _timings(subject, effort, use_gpu=use_gpu)
    logger.info("peak memory of %s", subject.name)
    longest = max(length for lengths in effort.lengths().values() for length in lengths)
    peak_memory_bytes = cpu_peak_memory_bytes(subject.reference, longest)
    return LatencyRecord(
        model=subject.name,
        row=subject.row,
        teacher=subject.teacher,
        measured=now(),
        machine=machine,
        lengths_samples=dict(effort.lengths()),
        repeats=effort.repeats,
        cpu=timings["cpu"].model_copy(update={"peak_memory_bytes": peak_memory_bytes}),
        cpu_all_threads=timings.get("cpu_all_threads"),
        gpu=timings.get("gpu"),
    )


def _timings(subject: Subject, effort: Effort, *, use_gpu: bool) -> dict[str, Timing]:
    """Time a model on all devices that it and its teacher run on."""
    references = [subject.teacher, subject.reference] if subject.teacher else [subject.reference]
    models = [load_model(reference) for reference in references]
    found = {}
    for name, section in sections(use_gpu=use_gpu).items():
        if section.num_threads > 1 and not _is_idle(effort):
            continue
        if not all(is_timed_on(section.device, model) for model in models):
            logger.info(
                "int8 layers and ONNX files are timed on the CPU only: %s has no time on %s", subject.name, section
            )
            continue
        found[name] = measure_section(models, section, effort)[-1]
    return found


def _is_idle(effort: Effort) -> bool:
    current = load()
    if effort.repeats is not None or current is None or current <= BUSY:
        return True
    logger.info("the machine is busy (load %.1f per core): --repeats measures several threads anyway", current)
    return False
