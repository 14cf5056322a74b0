"""Refuses finished cells that belong to another model or other data than the run uses now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.config.compatibility import AUDIO_SHA256
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.runs.work import Model
from bench.store.records import Record
from bench.store.run_folder import RunFolder
from bench.upstream.checkpoint import read_manifest


def refuse_other_weights(folder: RunFolder, config: RunConfig, model: Model, weights: str) -> None:
    """Compare a model with the weights that its finished cells were scored with.

    Args:
        folder: of the run.
        config: of the run.
        model: the model.
        weights: hash of the weights that were read.

    Raises:
        UserError: a cell was scored with others.
    """
    records = [record for record in folder.records.of(model.row) if record.cell.seed in model.seeds]
    stale = [record for record in records if record.weights_hash not in (None, weights)]
    if not stale:
        return
    source = config.models.get(model.row)
    reference = source.reference if source else None
    place = reference or f"models/{model.weights}"
    cells = _cells(stale)
    remade = "" if reference else f", or delete {place} to have it made again"
    raise UserError(
        f"The weights of {place} have changed since {len(stale)} finished cells of {model.weights} were scored in "
        f"--out {folder.path}. Restore them{remade}, choose another --out, or delete {cells} to score it again."
    )


def refuse_other_origins(models: Iterable[Path], origins: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Compare the teacher, and the model that compression started from, with those that finished models were made from.

    Args:
        models: their folders.
        origins: ``--teacher`` and ``--from`` to the reference and the hash of its weights; None if there is none.

    Raises:
        UserError: a model was made from other weights.
    """
    for folder in models:
        provenance = read_manifest(folder).provenance
        found = {
            "--teacher": provenance.get("teacher_weights_hash"),
            "--from": (provenance.get("from") or {}).get("weights_hash"),
        }
        for option, (reference, wanted) in origins.items():
            if wanted and found[option] and found[option] != wanted:
                raise UserError(
                    f"The weights of {option} {reference} have changed since {folder} was made from them. Restore "
                    "them, or choose another --out."
                )


def refuse_other_audio(models: Iterable[Path], wanted: str) -> None:
    """Compare the audio for compression with that of finished models.

    Args:
        models: their folders.
        wanted: hash of the audio's present content.

    Raises:
        UserError: a model was made with other audio.
    """
    for folder in models:
        found = read_manifest(folder).provenance.get(AUDIO_SHA256)
        if found and found != wanted:
            raise UserError(
                f"The audio of compression has changed since {folder} was made with it. Restore it, choose another "
                f"--out, or delete {folder} and its cells to have it made again."
            )


def refuse_other_data(folder: RunFolder, data_sha256: Mapping[str, str], data: str) -> None:
    """Compare the labels and audio of every task with those that finished cells of any row were scored on.

    Args:
        folder: of the run.
        data_sha256: task to the hash of its corpus, if known.
        data: name of the corpora.

    Raises:
        UserError: a cell was scored on others.
    """
    stale = [
        record
        for record in folder.records
        if record.data_sha256 and data_sha256.get(record.cell.task, record.data_sha256) != record.data_sha256
    ]
    if stale:
        task = stale[0].cell.task
        rows = sorted({record.cell.model for record in stale})
        raise UserError(
            f"The labels or the audio of {task} in the data {data} have changed since {rows[0]} was scored in --out "
            f"{folder.path}. Restore them, choose another --out, or delete cells/*/{task}-seed* there to score again."
        )


def _cells(records: Iterable[Record]) -> str:
    """Name the files of cells in a few words."""
    stems = sorted(record.cell.stem() for record in records)
    return f"cells/{stems[0]}.json" if len(stems) == 1 else f"cells/{stems[0].split('/')[0]}"
