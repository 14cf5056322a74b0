"""What figures are drawn from: runs' folders, and folders of single models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.leaderboard.comparable import Board, read_board
from bench.store.compressions import stored_compressions
from bench.store.run_folder import RunFolder

if TYPE_CHECKING:
    from bench.upstream.checkpoint import Manifest

MANIFEST = "config.json"
HISTORY = "training.csv"


@dataclass(frozen=True)
class SavedModel:
    """A model's folder."""

    name: str
    """Name of the folder; in a sweep, it ends with the seed."""
    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """Content of its ``config.json``.

        Raises:
            UserError: the file is torn or of another version.
        """
        from bench.upstream.checkpoint import read_manifest  # A local import, because this loads torch.

        return read_manifest(self.path)


@dataclass(frozen=True)
class Source:
    """One folder that the user named."""

    path: Path
    name: str
    """Distinguishes it from the other sources."""
    models: Sequence[SavedModel]
    """Models saved in it."""
    teacher: str | None = None
    """Reference of a run's teacher."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """Row of each of a run's models, by the name of the model's folder."""
    tasks: Sequence[str] = ()
    """Tasks of a run to show; all if empty."""

    @cached_property
    def board(self) -> Board | None:
        """A run's leaderboard and records; None for a model's folder, and before a run's first cell is finished."""
        has_records = any((self.path / "cells").glob("*/*.json"))
        return read_board(self.path, tasks=self.tasks, name=self.name) if has_records else None

    @property
    def teacher_row(self) -> str | None:
        """The teacher's row of the leaderboard."""
        return self.board.teacher_row if self.board else None

    def saved(self, row: str) -> list[SavedModel]:
        """List the models of a row: one, or in a sweep one per seed."""
        return [model for model in self.models if self.rows.get(model.name, model.name) == row]


def read_sources(folders: Sequence[Path], tasks: Sequence[str] = ()) -> list[Source]:
    """Read the folders that the user named.

    Args:
        folders: of runs, or of single models.
        tasks: the runs' tasks to show; all if empty.

    Raises:
        UserError: a folder is neither a run nor a model.
    """
    names = [folder.resolve().name for folder in folders]
    return [
        _read(folder, name if names.count(name) == 1 else str(folder), tasks)
        for folder, name in zip(folders, names, strict=True)
    ]


def _read(folder: Path, name: str, tasks: Sequence[str]) -> Source:
    if (folder / MANIFEST).is_file():
        return Source(folder, name, [SavedModel(name, folder)])
    config = RunFolder(folder).read_config() if folder.is_dir() else None
    if config is None:
        raise UserError(
            f"Expected a run's folder, with config.yaml in it, or a model's, with {MANIFEST}, at {folder}. Found "
            f"neither. Correct the path."
        )
    return Source(folder, name, _models(folder / "models"), config["teacher"], _rows(folder, config), tasks)


def _models(folder: Path) -> list[SavedModel]:
    # A save that was killed leaves a hidden folder.
    found = [path.parent for path in sorted(folder.glob(f"*/{MANIFEST}")) if not path.parent.name.startswith(".")]
    return [SavedModel(path.name, path) for path in found]


def _rows(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    rows: dict[str, str] = {}
    for compression in stored_compressions(config):
        # An unfinished compression may already have saved its first model.
        rows |= compression.folders(RunFolder(folder)) or {compression.name: compression.row}
    return rows
