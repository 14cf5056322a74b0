"""The card of an exported model."""

from __future__ import annotations

from pathlib import Path

from bench.exports.scores import run_of, shown_scores
from bench.exports.subject import Subject
from bench.upstream import weights_hash
from bench.upstream.checkpoint import WEIGHTS
from bench.upstream.readme import README, ShownScore, Usage, readme_text


def write_card(subject: Subject, destination: Path, usage: Usage) -> None:
    """Write the ``README.md`` of an exported folder, with the model's scores if it lies in a run's folder.

    Raises:
        UserError: a record of that run is torn.
    """
    provenance = {"converted_from": subject.reference} | dict(subject.provenance)
    size_bytes = (destination / WEIGHTS).stat().st_size
    text = readme_text(subject.name, subject.model.config, size_bytes, provenance, usage, _scores(subject))
    (destination / README).write_text(text, encoding="utf-8")


def _scores(subject: Subject) -> list[ShownScore]:
    run = run_of(subject.path) if subject.path.is_dir() else None
    if run is None:
        return []
    identity = weights_hash(subject.model)
    return shown_scores(record for record in run.records if record.weights_hash == identity)
