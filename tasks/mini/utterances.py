"""The plan of a corpus: which recordings are to be made. Light: nothing here makes sound."""

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
    """Below the corpus's folder, with forward slashes; its random streams are named by it."""
    split: str
    """``train``, ``dev`` or ``test``; ``session<n>`` where the corpus has folds."""
    text: str
    """What is said; empty for noise alone."""
    label: str
    """The class, where the task has classes."""
    speaker: Speaker | None
    """None for noise alone."""
    delivery: Delivery | None
    """None for noise alone."""
    scene: Scene
    duration_s: float | None = None
    """Fixed length, with speech at a random place; by default as long as the speech, with short margins."""


class MiniCorpus(Protocol):
    """One embedded corpus: what is said in it, and how it lies on disk."""

    name: str
    """The task's name, and the folder's."""

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every recording; ``scale`` multiplies the number of speakers."""
        ...

    def write_tables(self, folder: Path, utterances: Sequence[Utterance], manifest: Sequence[ManifestRow]) -> None:
        """Write the text files that the layout has beside the audio."""
        ...

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Say what the task's entry in a data file is."""
        ...


def scaled(number: int, scale: float) -> int:
    """Scale a count, keeping at least one."""
    return max(1, round(number * scale))
