"""A run's folder: its configuration, its models, its cells, its working files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bench.contracts import Settings
from bench.errors import UserError
from bench.files import write_atomically
from bench.store.records import RecordStore

REQUIRED_KEYS = {"teacher", "data", "preset", "models", "tasks", "seeds"}
"""Of every ``config.yaml``."""


class FinishedCompression(Settings):
    """Says that a compressor's models are all there."""

    models: tuple[str, ...]
    """Their names."""
    seconds: float
    """Wall time of the call that finished them."""


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
        """Return what ``config.yaml`` holds, or None where this is no run yet.

        Raises:
            UserError: the folder holds something else.
        """
        if not self.config_path.is_file():
            if self.path.exists() and not self._may_become_a_run():
                raise UserError(f"--out {self.path} exists and is no run's folder. Choose another --out.")
            return None
        try:
            values = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            values = None
        if not isinstance(values, dict) or not values.keys() >= REQUIRED_KEYS:
            raise UserError(f"Expected a run's configuration in {self.config_path}. Found none. Choose another --out.")
        return values

    def _may_become_a_run(self) -> bool:
        return self.path.is_dir() and {entry.name for entry in self.path.iterdir()} <= {"work"}

    def write_config(self, values: dict[str, Any]) -> None:
        """Keep the configuration."""
        write_atomically(self.config_path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def model_folder(self, model: str) -> Path:
        """Where a compressed model lies."""
        return self.path / "models" / model

    def compression_workdir(self, compressor: str) -> Path:
        """Checkpoints of a compression."""
        return self.path / "work" / "compress" / compressor

    def cell_workdir(self, stem: str) -> Path:
        """Working files of a cell."""
        return self.path / "work" / "cells" / stem

    def shared_workdir(self, weights: str, task: str) -> Path:
        """Working files that the cells of one set of weights and task share."""
        return self.path / "work" / "cells" / weights / task

    def finished_compression(self, compressor: str) -> FinishedCompression | None:
        """Say what a compressor made, or None where it is not finished."""
        path = self._finished_path(compressor)
        if not path.is_file():
            return None
        try:
            return FinishedCompression.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise UserError(
                f"Expected a list of models in {path}. Delete it, and the compressor is run again."
            ) from error

    def finish_compression(self, compressor: str, finished: FinishedCompression) -> None:
        """Mark a compressor's models as complete and drop its checkpoints."""
        write_atomically(self._finished_path(compressor), finished.model_dump_json(indent=1) + "\n")
        shutil.rmtree(self.compression_workdir(compressor), ignore_errors=True)

    def failure_path(self, what: str) -> Path:
        """Where it is kept why a piece of work failed."""
        return self.path / "failures" / f"{what}.txt"

    def lock_path(self, work: str) -> Path:
        """Lock file of a piece of work."""
        return self.path / "work" / "locks" / f"{work.replace('/', ' ')}.lock"

    def _finished_path(self, compressor: str) -> Path:
        return self.path / "models" / f"{compressor}.json"
