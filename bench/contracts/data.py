"""The corpora of a run: audio for compression, labelled data for tasks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator

from bench.contracts.bounds import Hours, Seed
from bench.contracts.settings import Settings


class AudioSource(Settings):
    """The audio that compression trains on: speech without labels."""

    layout: Literal["librispeech", "folder", "manifest"] = "folder"
    """``librispeech`` and ``folder`` search ``root``; ``manifest`` reads a CSV or JSON-lines file with ``path``, and is
    the default where ``manifest`` names one."""
    root: Path | None = None
    """Folder with the audio (``librispeech``, ``folder``)."""
    manifest: Path | None = None
    """CSV or JSON-lines file with a column ``path``, relative to the file (``manifest``)."""
    splits: tuple[str, ...] = ()
    """Sub-folders of ``root``, or values of the manifest's column ``split``. Empty: the training splits,
    ``train-*`` of LibriSpeech, ``train`` of a manifest that has splits, all of a folder."""
    resample: bool = False
    """Resample files of another rate to 16 kHz; otherwise they are refused."""
    hours: Hours | None = None
    """Use at most so many hours, of utterances drawn at random; a smaller draw is part of a larger one. None: all."""
    hours_seed: Seed = 0
    """Seed of the draw."""

    @model_validator(mode="before")
    @classmethod
    def _manifest_is_a_layout(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("manifest") and not {"layout", "root"} & values.keys():
            return {**values, "layout": "manifest"}
        return values


class Data(Settings):
    """One ``--data`` choice, resolved: every path absolute."""

    name: str
    """``mini``, or the stem of the YAML file."""
    embedded: str = ""
    """Name of the embedded corpora, which make audio that is missing. Empty for the user's own."""
    version: str = ""
    """Identity of embedded corpora: generator version and seed. Empty for the user's own."""
    audio_sha256: dict[str, str] = Field(default_factory=dict)
    """Hash of each task's audio, where embedded corpora know it: one version may differ in bits between machines."""
    resample: bool = False
    """Resample all audio to 16 kHz where it has another rate; otherwise such audio is refused."""
    hours: Hours | None = None
    """How much audio compression trains on, see `AudioSource.hours`."""
    audio: AudioSource | None = None
    """Audio that compression trains on."""
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Each task's entry; its fields are those of one of the task's ``layouts``."""

    @property
    def identity(self) -> str:
        """Name the corpora in a record: embedded ones with their version."""
        return f"{self.name}-{self.version}" if self.version else self.name


class Corpora(Protocol):
    """Embedded corpora, chosen by name with ``--data`` (entry-point group ``bench.corpora``)."""

    def data(self) -> Data:
        """Return where the corpora are or will be, and their version; nothing is made."""
        ...

    def prepare(self, tasks: Collection[str] | None = None) -> Data:
        """Make what these tasks lack, by default all tasks, with progress on standard error."""
        ...
