"""The plan of a corpus: the recordings to make. Nothing here synthesises audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import Delivery
from tasks.mini.scenes import Scene
from tasks.mini.speakers import Speaker


@dataclass(frozen=True)
class Utterance:
    """One recording to make. Its audio is a function of these fields and the corpora's seed."""

    path: str
    """Path in the corpus's folder, with forward slashes. It also names the random streams of the recording."""
    split: str
    """``train``, ``dev`` or ``test``; ``session<n>`` in a corpus with folds."""
    text: str
    """The spoken text; empty for pure noise."""
    label: str
    """The class, if the task has classes."""
    speaker: Speaker | None
    """None for pure noise."""
    delivery: Delivery | None
    """None for pure noise."""
    scene: Scene
    duration_s: float | None = None
    """Fixed length, with speech at a random place. None: the length of the speech with short margins."""


class MiniCorpus(Protocol):
    """One embedded corpus: its utterances and its layout on disk."""

    name: str
    """Name of the task and of the folder."""

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every recording. ``scale`` multiplies the number of speakers."""
        ...

    def write_tables(self, folder: Path, utterances: Sequence[Utterance], manifest: Sequence[ManifestRow]) -> None:
        """Write the layout's text files."""
        ...

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the task's entry in a data file."""
        ...


def scaled(number: int, scale: float) -> int:
    """Scale a count, keeping at least one."""
    return max(1, round(number * scale))
