"""The models to profile, and the teacher of each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files.paths import expanded
from bench.profiling.models import check_model
from bench.store.compressions import stored_compressions
from bench.store.run_folder import RunFolder
from bench.text import shortened
from bench.upstream.checkpoint import is_suite_folder, read_manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """One model to profile."""

    reference: str
    """Reference of the model."""
    name: str
    """Name in tables; in a run's folder, the name of its weights."""
    row: str
    """Row of the leaderboard; outside of runs, the name."""
    teacher: str | None = None
    """Reference of the model to compare with. None for the teacher itself."""


def find_subjects(references: Sequence[str], run: Path | None, teacher: str | None) -> list[Subject]:
    """List the models to profile.

    Args:
        references: of models.
        run: a run's folder, instead of references: the models evaluated as they are, and those that compression has
            finished.
        teacher: of all of them; by default the run's own, the one that a model records, or the first reference.

    Raises:
        UserError: nothing is named, or both are; one model is named twice; the folder is no run's.
    """
    if bool(references) == (run is not None):
        found = "both" if run else "neither"
        raise UserError(f"Expected model references or --run DIR. Found {found}. See `bench list teachers`.")
    return _run_subjects(run, teacher) if run is not None else _named_subjects(references, teacher)


def check_teachers(subjects: Sequence[Subject]) -> None:
    """Refuse teachers that cannot be loaded.

    Raises:
        UserError: a teacher cannot be loaded; the message names the first one, and how to choose another.
    """
    for teacher in dict.fromkeys(subject.teacher for subject in subjects if subject.teacher):
        try:
            check_model(teacher)
        except UserError as error:
            raise UserError(f"The teacher to measure against: {error} --teacher names another.") from error


def _named_subjects(references: Sequence[str], teacher: str | None) -> list[Subject]:
    if len(set(references)) < len(references):
        raise UserError(f"Expected different models. Found one twice in {' '.join(references)}. Name each once.")
    return [
        _subject(reference, reference, reference, teacher or _recorded_teacher(reference) or references[0])
        for reference in references
    ]


def _run_subjects(folder: Path, teacher: str | None) -> list[Subject]:
    run = RunFolder(folder)
    config = run.read_config() if folder.is_dir() else None
    if config is None:
        raise UserError(f"Expected a run's folder, with a config.yaml, at {folder}. Found none. Correct --run.")
    references = {row: source["reference"] for row, source in config["models"].items() if source.get("reference")}
    teacher = teacher or config["teacher"] or next(iter(references.values()))
    return [
        *(_subject(reference, row, row, teacher) for row, reference in references.items()),
        *(_subject(str(run.model_folder(weights)), weights, row, teacher) for weights, row in _compressed(run, config)),
    ]


def _subject(reference: str, name: str, row: str, teacher: str) -> Subject:
    return Subject(reference, name, row, teacher if teacher != reference else None)


def _compressed(run: RunFolder, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pair each folder of weights with its row; in a sweep, the seeds of a row have separate folders."""
    found = {compression: compression.folders(run) for compression in stored_compressions(config)}
    missing = [compression.name for compression, folders in found.items() if not folders]
    if missing:
        logger.warning("left out, because their models do not exist: %s", shortened(", ".join(missing), 300))
    return [pair for folders in found.values() for pair in folders.items()]


def _recorded_teacher(reference: str) -> str | None:
    folder = expanded(reference)
    recorded = read_manifest(folder).provenance.get("teacher") if is_suite_folder(folder) else None
    return None if recorded is None else str(recorded)
