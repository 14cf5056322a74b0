"""The embedded corpora in small, as a data file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml

from tasks.mini.corpora import MiniCorpora

SCALE = 0.02
"""About 70 recordings of keywords and 40 of sentences."""


def write_embedded(folder: Path, tasks: Collection[str] | None = None) -> Path:
    """Synthesise small corpora of the given tasks, by default of all; return a data file for ``--data``."""
    data = MiniCorpora(folder, scale=SCALE, num_processes=2).prepare(tasks)
    assert data.audio is not None
    content = {
        "audio": data.audio.model_dump(mode="json", exclude_defaults=True) | {"layout": data.audio.layout},
        "tasks": {
            name: {key: str(value) if isinstance(value, Path) else value for key, value in entry.items()}
            for name, entry in data.tasks.items()
        },
    }
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
