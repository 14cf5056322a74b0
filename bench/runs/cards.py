"""Adds a run's scores to the cards of its models."""

from __future__ import annotations

from bench.exports.scores import shown_scores
from bench.files.atomic import replacing
from bench.runs.work import Model, WorkList
from bench.store.records import Record
from bench.upstream.readme import README, with_scores


def write_scores_into_cards(work: WorkList) -> None:
    """Write the scores of finished cells into the ``README.md`` of each model that the run made.

    Nothing else in a card changes. Models whose cells were scored with different weights are left out.
    """
    for model in work.models():
        if model.made_by is not None:
            _write_scores(work, model)


def _write_scores(work: WorkList, model: Model) -> None:
    path = work.folder.model_folder(model.weights) / README
    records = _records(work, model)
    # Folders of earlier versions have no card.
    if not path.is_file() or not records or len({record.weights_hash for record in records}) > 1:
        return
    # A card may have been edited, in any encoding.
    card = path.read_bytes().decode("utf-8", "surrogateescape")
    updated = with_scores(card, shown_scores(records))
    if updated != card:
        with replacing(path) as temporary:
            temporary.write_bytes(updated.encode("utf-8", "surrogateescape"))


def _records(work: WorkList, model: Model) -> list[Record]:
    found = (work.folder.records.read(item.cell) for item in work.cells(model))
    return [record for record in found if record is not None]
