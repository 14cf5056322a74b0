"""The compressions that a run's ``config.yaml`` lists, and the names of their models' folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.store.run_folder import RunFolder


@dataclass(frozen=True)
class StoredCompression:
    """One call of a compressor."""

    row: str
    """Row of the leaderboard. If the call makes several sizes, their rows are named after it."""
    suffix: str = ""
    """What the folders of its models add to the names of their rows."""

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.row + self.suffix

    def folders(self, run: RunFolder) -> dict[str, str]:
        """Return the row of each model that it has made, by the name of the model's folder; none if it is not finished.

        Raises:
            UserError: its list of models is damaged.
        """
        finished = run.finished_compression(self.name, self.suffix)
        return {model + self.suffix: model for model in finished.models} if finished else {}


def seed_suffix(seed: int) -> str:
    """Return what a sweep adds to a row's name, for the models that one seed makes."""
    return f"-seed{seed}"


def stored_compressions(config: Mapping[str, Any]) -> list[StoredCompression]:
    """List the compressions of a run.

    Args:
        config: content of its ``config.yaml``.
    """
    rows = [row for row, source in config["models"].items() if source.get("compressor")]
    suffixes = [seed_suffix(seed) for seed in config["seeds"]] if config.get("training_budget") else [""]
    return [StoredCompression(row, suffix) for row in rows for suffix in suffixes]
