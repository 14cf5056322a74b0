"""Finds the models of a run that need no new measurement."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bench.profiling.machine import this_machine
from bench.profiling.subjects import Subject
from bench.profiling.workloads import Effort
from bench.store.latency import LatencyRecord, latency_path, read_latencies
from bench.upstream import reference_config

logger = logging.getLogger(__name__)


def kept_records(run: Path, subjects: Sequence[Subject], effort: Effort, *, use_gpu: bool) -> dict[str, LatencyRecord]:
    """Read the measurements on this machine, with the same settings, since the model was made.

    Args:
        run: the run's folder.
        subjects: its models.
        effort: how thoroughly to measure.
        use_gpu: whether the GPU's figures are wanted.

    Returns:
        Name of the subject to its record.

    Raises:
        UserError: a record is torn.
    """
    there = {record.model: record for records in read_latencies(run).values() for record in records}
    found = {
        subject.name: there[subject.name]
        for subject in subjects
        if subject.name in there and _is_of(there[subject.name], subject, effort, use_gpu=use_gpu)
        if not _is_older(latency_path(run, subject.name), Path(subject.reference))
    }
    if found:
        logger.info(
            "already measured on this machine with these settings: %s (--again measures again)", ", ".join(found)
        )
    return found


def _is_of(record: LatencyRecord, subject: Subject, effort: Effort, *, use_gpu: bool) -> bool:
    machine = this_machine()
    return (
        (record.machine.title, record.machine.num_cores) == (machine.title, machine.num_cores)
        and dict(record.lengths_samples) == dict(effort.lengths())
        and record.repeats == effort.repeats
        # Earlier versions measured fewer repeats in runs with many models.
        and record.cpu.rtf.repeats >= effort.limits().least
        and record.teacher == subject.teacher
        and (record.gpu is not None or not use_gpu or _has_int8(subject.reference))
    )


def _has_int8(reference: str) -> bool:
    shape = reference_config(reference)
    return shape is not None and shape.has_int8


def _is_older(record: Path, model: Path) -> bool:
    """Return whether a model is newer than its record. Models that are not suite folders never change."""
    manifest = model / "config.json"
    return manifest.is_file() and manifest.stat().st_mtime > record.stat().st_mtime
