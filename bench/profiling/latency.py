"""Latency of models: each timed in turn with its teacher, on the CPU and on a GPU where there is one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from bench.profiling.machine import load, this_machine
from bench.profiling.memory import cpu_peak_memory_bytes
from bench.profiling.sections import Section, measure_section, sections
from bench.profiling.subjects import Subject
from bench.profiling.workloads import Effort
from bench.provenance import now
from bench.store.latency import LatencyRecord, Timing
from bench.upstream import AnyUpstream, load_upstream
from bench.upstream.reduced_linears import usable_device

logger = logging.getLogger(__name__)

BUSY = 1.0
"""A load a core above which threads mostly wait for one another: how long says nothing of the model."""


def measure(subjects: Sequence[Subject], effort: Effort, *, use_gpu: bool) -> list[LatencyRecord]:
    """Measure the latency of models.

    Returns:
        One record a subject.

    Raises:
        UserError: no such model.
    """
    records: dict[str, LatencyRecord] = {}
    for teacher, group in _groups(subjects).items():
        records |= _measure_group(teacher, group, effort, use_gpu=use_gpu)
    return [records[subject.name] for subject in subjects]


def _groups(subjects: Sequence[Subject]) -> dict[str, list[Subject]]:
    """Group subjects by teacher; a model without one stands at the head of its own group."""
    groups: dict[str, list[Subject]] = {}
    for subject in subjects:
        groups.setdefault(subject.teacher or subject.reference, []).append(subject)
    return groups


def _measure_group(
    teacher: str, group: Sequence[Subject], effort: Effort, *, use_gpu: bool
) -> dict[str, LatencyRecord]:
    machine = this_machine()
    references = dict.fromkeys([teacher, *(subject.reference for subject in group)])
    models = {reference: load_upstream(reference) for reference in references}
    timings = {
        name: _measure_models(models, section, effort)
        for name, section in sections(use_gpu=use_gpu).items()
        if section.num_threads == 1 or _is_idle(effort)
    }
    longest = max(length for lengths in effort.lengths().values() for length in lengths)
    records = {}
    for subject in group:
        logger.info("peak memory of %s", subject.name)
        own = {name: found[subject.reference] for name, found in timings.items() if subject.reference in found}
        peak_memory_bytes = cpu_peak_memory_bytes(subject.reference, longest)
        own["cpu"] = own["cpu"].model_copy(update={"peak_memory_bytes": peak_memory_bytes})
        records[subject.name] = LatencyRecord(
            model=subject.name,
            row=subject.row,
            teacher=subject.teacher,
            measured=now(),
            machine=machine,
            lengths_samples=dict(effort.lengths()),
            repeats=effort.repeats,
            cpu=own["cpu"],
            cpu_all_threads=own.get("cpu_all_threads"),
            gpu=own.get("gpu"),
        )
    return records


def _measure_models(models: Mapping[str, AnyUpstream], section: Section, effort: Effort) -> dict[str, Timing]:
    """Time those that run on the section's device; none where the first, the teacher, does not."""
    running = {name: model for name, model in models.items() if usable_device(model, section.device) == section.device}
    if len(running) < len(models):
        logger.info("int8 layers run on the CPU alone: %d model(s) not on %s", len(models) - len(running), section)
    if next(iter(models)) not in running:
        return {}
    return dict(zip(running, measure_section(list(running.values()), section, effort), strict=True))


def _is_idle(effort: Effort) -> bool:
    current = load()
    if effort.repeats is not None or current is None or current <= BUSY:
        return True
    logger.info("the machine is busy (a load of %.1f a core): nothing with several threads without --repeats", current)
    return False
