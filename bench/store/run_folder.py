"""A run's folder: its configuration, models, cells and working files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from bench.contracts import Settings
from bench.contracts.names import Name
from bench.errors import UserError
from bench.files.atomic import remove_folder, write_atomically
from bench.files.yaml import dump_yaml, read_yaml
from bench.store.inside import inside
from bench.store.reading import check_as, read_json_as
from bench.store.records import RecordStore

REQUIRED_KEYS = {"teacher", "data", "preset", "models", "tasks", "seeds"}
"""Keys of every ``config.yaml``."""

COMPRESS, LOAD = "compress", "load"
"""Kinds of work that may fail, in addition to cells."""

MODEL_FILES = ("config.json", "model.safetensors")
"""A model's folder without one of these is incomplete."""


class StoredModel(BaseModel):
    """A row in a ``config.yaml``, see `bench.config.run.ModelSource`; keys of other versions are ignored."""

    reference: str | None = None
    compressor: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class StoredData(BaseModel):
    """The data in a ``config.yaml``, see `bench.contracts.Data`."""

    tasks: dict[Name, dict[str, Any]] = Field(default_factory=dict)


class StoredCall(BaseModel):
    """What one call has asked for, see `bench.config.run.Call`."""

    models: list[Name]
    tasks: list[Name]
    seeds: list[int]


class StoredRun(BaseModel):
    """The part of a ``config.yaml`` that its readers rely on, in any version."""

    teacher: str | None
    data: StoredData
    preset: str
    models: dict[Name, StoredModel]
    tasks: dict[Name, dict[str, Any]]
    seeds: list[int]
    training_budget: str | None = None
    calls: list[StoredCall] | None = None


class FinishedCompression(Settings):
    """States that a compressor's models are complete."""

    models: tuple[Name, ...] = Field(min_length=1)
    """Their rows."""
    seconds: float
    """Wall time of the call that finished them."""


class RunFolderGoneError(UserError):
    """The run's folder was deleted or moved while a run worked in it."""


class RunFolder:
    """Paths and small files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = RecordStore(path)

    @property
    def config_path(self) -> Path:
        """The whole resolved configuration."""
        return self.path / "config.yaml"

    def read_config(self) -> dict[str, Any] | None:
        """Return the content of ``config.yaml``, or None if this is no run yet.

        Raises:
            UserError: the folder holds something else.
        """
        if not self.config_path.is_file():
            if self.path.exists() and not self._may_become_a_run():
                raise UserError(f"--out {self.path} exists and is no run's folder. Choose another --out.")
            return None
        values = read_yaml(self.config_path)
        if not isinstance(values, dict) or not values.keys() >= REQUIRED_KEYS:
            raise UserError(f"Expected a run's configuration in {self.config_path}. Found none. Choose another --out.")
        check_as(StoredRun, values, f"a run's configuration in {self.config_path}", "Choose another --out.")
        return values

    def _may_become_a_run(self) -> bool:
        if not self.path.is_dir():
            return False
        # Another process may be writing the configuration right now.
        config = self.config_path.name
        return all(
            entry.name in {"work", config} or entry.name.startswith(f".{config}.") for entry in self.path.iterdir()
        )

    def write_config(self, values: dict[str, Any]) -> None:
        """Write the configuration."""
        write_atomically(self.config_path, dump_yaml(values))

    def require_present(self) -> None:
        """Check that the folder still exists, before computing or storing anything in it.

        Raises:
            RunFolderGoneError: it does not.
        """
        if not self.config_path.is_file():
            raise RunFolderGoneError(
                f"Expected the run's folder {self.path}. It was deleted or moved while this run worked in it, so "
                "nothing more is computed. Restore it, or delete what is left of it, and run again."
            )

    def model_folder(self, model: str) -> Path:
        """Return the folder of a compressed model."""
        return inside(self.path, "models", model)

    def compression_workdir(self, compressor: str) -> Path:
        """Return the folder of a compression's checkpoints."""
        return inside(self.path, "work", "compress", compressor)

    def cell_workdir(self, stem: str) -> Path:
        """Return the folder of a cell's working files."""
        return inside(self.path, "work", "cells", stem)

    def shared_workdir(self, weights: str, task: str) -> Path:
        """Return the folder of working files that the cells of one set of weights and one task share."""
        return inside(self.path, "work", "cells", weights, task)

    def finished_compression(self, compressor: str, suffix: str = "") -> FinishedCompression | None:
        """Return the models that a compression made, or None if it is not finished.

        Args:
            compressor: name of the compression.
            suffix: what this name adds to the name of its row.

        Raises:
            UserError: its list of models is damaged, or names models of another row.
        """
        path = self.finished_path(compressor)
        if not path.is_file():
            return None
        remedy = "Delete it, and the compressor is run again."
        finished = read_json_as(FinishedCompression, path, "a list of models", remedy)
        row = compressor.removesuffix(suffix)
        for model in finished.models:
            if model != row and not model.startswith(f"{row}-"):
                raise UserError(f"Expected models of the row {row} in {path}. Found {model!r}. {remedy}")
        return finished

    def lost_models(self, compressor: str, suffix: str = "") -> list[Path]:
        """List the folders of a finished compression that are gone, or lack one of a model's two files.

        Args:
            compressor: name of the compression.
            suffix: what this name, and the names of its models' folders, add to the names of rows.
        """
        finished = self.finished_compression(compressor, suffix)
        folders = [self.model_folder(model + suffix) for model in finished.models] if finished else []
        return [folder for folder in folders if not all((folder / name).is_file() for name in MODEL_FILES)]

    def finish_compression(self, compressor: str, finished: FinishedCompression) -> None:
        """Mark a compressor's models as complete and delete its checkpoints."""
        write_atomically(self.finished_path(compressor), finished.model_dump_json(indent=1) + "\n")
        remove_folder(self.compression_workdir(compressor))

    @property
    def failures_folder(self) -> Path:
        """Folder of the notes about failed work."""
        return self.path / "failures"

    def failure_path(self, what: str) -> Path:
        """Return the path of the note that says why a piece of work failed.

        Args:
            what: the stem of a cell, or a kind of work and a model, such as ``compress dphubert``.
        """
        return inside(self.path, "failures", f"{what.replace(' ', '-')}.txt")

    def lock_path(self, work: str) -> Path:
        """Return the lock file of a piece of work."""
        return inside(self.path, "work", "locks", f"{work.replace('/', ' ')}.lock")

    def finished_path(self, compressor: str) -> Path:
        """Return the path of the file that marks a compressor as finished."""
        return inside(self.path, "models", f"{compressor}.json")
