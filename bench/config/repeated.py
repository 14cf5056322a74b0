"""``--config``: a stored run, whose choices and settings another run repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.data import describe_data
from bench.errors import UserError
from bench.stacking import by_part

if TYPE_CHECKING:
    from bench.config.run import RunConfig
    from bench.contracts import Data


@dataclass(frozen=True)
class Repeated:
    """A stored configuration, and which parts of it are used."""

    config: RunConfig
    path: Path
    with_data: bool
    """Whether to use its data. Otherwise ``--data`` decides."""
    with_settings: bool
    """Whether to use its settings. Otherwise another ``--preset`` decides."""

    def settings_of_row(self, row: str, compressor: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the settings of a row by part. Empty if they come from the preset."""
        source = self.config.models.get(row)
        if not self.with_settings or source is None or source.compressor != compressor:
            return {}
        return by_part(compressor, source.settings)

    def settings_of_task(self, task: str) -> Mapping[str, Any] | None:
        """Return the settings of a task. None if they come from the preset."""
        return self.config.tasks.get(task) if self.with_settings else None

    def data(self, changes: Mapping[str, Any], tasks: Mapping[str, Any]) -> Data:
        """Return its data, with an entry for each task.

        Raises:
            UserError: the data have no entry for a task, or are the user's own and ``--set`` changes them.
        """
        stored = self.config.data
        if stored.embedded:
            own = {key: getattr(stored, key) for key in ("resample", "hours")}
            return describe_data(stored.embedded, {**own, **changes}, tasks)
        if changes:
            raise UserError(f"--set data.{next(iter(changes))}: add --data to --config {self.path} to change the data.")
        missing = sorted(set(tasks) - set(stored.tasks))
        if missing:
            raise UserError(
                f"Expected data of the task {missing[0]} in {self.path}. Found {', '.join(stored.tasks) or 'no task'}. "
                "Add --data."
            )
        return stored.model_copy(update={"tasks": {name: stored.tasks[name] for name in tasks}})
