"""The corpora of a run: audio for compression, labelled data for tasks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator

from bench.contracts.bounds import Hours, Seed
from bench.contracts.names import Name
from bench.contracts.settings import Settings

ManifestFormat = Literal["csv", "jsonl", "kaldi", "audiofolder", "datasets", "lhotse"]
"""Formats of lists of utterances."""


class AudioSource(Settings):
    """The audio that compression trains on: speech without labels."""

    layout: Literal["librispeech", "folder", "manifest"] = "folder"
    """``librispeech`` and ``folder`` search ``root``. ``manifest`` reads a CSV or JSON-lines file with a column
    ``path``, and is the default if ``manifest`` names a file.
    """
    root: Path | None = None
    """Folder with the audio (``librispeech``, ``folder``)."""
    manifest: Path | None = None
    """CSV or JSON-lines file with a column ``path``, relative to the file, or a list of utterances in another format
    (``manifest``)."""
    format: ManifestFormat | None = None
    """Format of the manifest. None: recognised."""
    splits: tuple[str, ...] = ()
    """Sub-folders of ``root``, or values of the manifest's column ``split``. Empty: the training splits, which are
    ``train-*`` of LibriSpeech, ``train`` of a manifest with splits, or the whole folder.
    """
    resample: bool = False
    """Resample files of another rate to 16 kHz. Otherwise they are refused."""
    hours: Hours | None = None
    """Use at most this many hours of randomly drawn utterances. A smaller draw is part of a larger one. None: all."""
    hours_seed: Seed = 0
    """Seed of the draw."""

    @property
    def folder(self) -> Path | None:
        """Folder of the corpus: the root, or the manifest's folder."""
        return self.manifest.parent if self.layout == "manifest" and self.manifest else self.root

    def fields_without_effect(self) -> Collection[str]:
        """Name the format if none is chosen, so that it is not stored."""
        return () if self.format else ("format",)

    @model_validator(mode="before")
    @classmethod
    def _manifest_is_a_layout(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("manifest") and not {"layout", "root"} & values.keys():
            return {**values, "layout": "manifest"}
        return values


class Data(Settings):
    """One ``--data`` choice, resolved. Every path is absolute."""

    name: Name
    """``mini``, or the stem of the YAML file."""
    embedded: str = ""
    """Name of the embedded corpora, which create missing audio. Empty for the user's own corpora."""
    version: str = ""
    """Identity of embedded corpora: generator version and seed. Empty for the user's own corpora."""
    audio_sha256: dict[str, str] = Field(default_factory=dict)
    """Hash of each task's audio, if embedded corpora know it. One version may differ in bits between machines."""
    resample: bool = False
    """Resample all audio of another rate to 16 kHz. Otherwise such audio is refused."""
    hours: Hours | None = None
    """Hours of audio that compression trains on, see `AudioSource.hours`."""
    audio: AudioSource | None = None
    """Audio that compression trains on."""
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Each task's entry, with the fields of one of the task's ``layouts``."""

    @property
    def identity(self) -> str:
        """Name the corpora in a record. Embedded ones include their version."""
        return f"{self.name}-{self.version}" if self.version else self.name


class Corpora(Protocol):
    """Embedded corpora, chosen by name with ``--data`` (entry-point group ``bench.corpora``)."""

    def data(self) -> Data:
        """Return the locations and version of the corpora, without making anything."""
        ...

    def prepare(self, tasks: Collection[str] | None = None) -> Data:
        """Make the missing corpora of these tasks, by default of all tasks, with progress on standard error."""
        ...
