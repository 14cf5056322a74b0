"""Checks the corpora of a run, and measures them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.audio.sources import source_files, within_hours
from bench.config.data import required_audio
from bench.config.run import RunConfig
from bench.contracts import MeasuresData, Settings, SplitSize
from bench.runs.checks import tasks_on_data

AUDIO = "audio"
"""Name of the audio that compression trains on, as in a data file."""

CorpusSizes = Mapping[str, Mapping[str, SplitSize]]
"""For every task, and for `AUDIO`, the size of each split."""


def checked_corpora(config: RunConfig) -> CorpusSizes | None:
    """Check and measure the corpora of all tasks, and the audio of the compressors.

    Returns:
        Their sizes. None if they are embedded corpora that are not made yet.

    Raises:
        UserError: a corpus is missing, incomplete or unusable.
    """
    tasks = tasks_on_data(config)
    if config.data.embedded and not all(_is_made(on_data.data) for on_data in tasks.values()):
        return None
    sizes: dict[str, Mapping[str, SplitSize]] = {}
    if config.compressors():
        audio = required_audio(config.data)
        files = within_hours(source_files(audio), audio)
        sizes[AUDIO] = {"train": SplitSize(len(files), sum(file.duration_s for file in files))}
    for name, on_data in tasks.items():
        task = on_data.task
        sizes[name] = task.sizes(on_data.data) if isinstance(task, MeasuresData) else on_data.check()
    return sizes


def _is_made(entry: Settings) -> bool:
    """Whether an embedded corpus is there. Each is complete or absent."""
    values = (getattr(entry, name) for name in type(entry).model_fields)
    return all(value.exists() for value in values if isinstance(value, Path))
