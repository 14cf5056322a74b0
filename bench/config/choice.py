"""The user's choice: parsed from text into values, but not resolved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bench.contracts import FeatureProtocol, Settings
from bench.contracts.bounds import Devices, Seed

Preset = Literal["smoke", "mini", "paper"]
"""The presets of every plug-in."""

TrainingBudget = Literal["updates", "macs", "preset"]
"""The quantity that all methods of a sweep share with the first one. ``preset``: each trains as its preset says."""


class Choice(Settings):
    """The choices of one command, or of one repeated stored run."""

    compressors: dict[str, str] = Field(default_factory=dict)
    """Row to compressor. The teacher's row is always included."""
    references: tuple[str, ...] = ()
    """Model references of the reference rows, evaluated without compression."""
    teacher: str | None = None
    """Model reference of the teacher."""
    start: str | None = None
    """Model reference of the warm start."""
    tasks: tuple[str, ...] = ()
    """Names of the tasks."""
    data: str = "mini"
    """Name of embedded corpora, or a YAML file."""
    preset: str = "mini"
    """Preset of compressors and tasks: one of `Preset`, or another one that all of them have."""
    protocol: FeatureProtocol | None = None
    """How features are computed. Default: ``s3prl`` with the preset ``paper``, otherwise ``cached``."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of the downstream heads."""
    sparsities: tuple[float, ...] = ()
    """Sparsities of a sweep: every compressor makes a row for each. Empty: no sweep."""
    training_budget: TrainingBudget | None = None
    """Training budget of a sweep."""
    devices: Devices = 1
    """Devices that share each update of a compression."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """``--set``: dotted key to value."""
    head_settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of every chosen task that has them: ``learning_rate`` (``--lr``) and ``folds`` (``--folds``)."""
