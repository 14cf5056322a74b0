"""One's own recordings of every task, for tests: what manifests hold, and tasks that read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import registry
from bench.config.data import task_entry

Write = Callable[..., Path]

LEXICON = "NULL N AH1 L\nTEA T IY1\nTEA T IY0\nTWO T UW1\nYES Y EH1 S\nNA EH1 N EY1\n"
COLUMNS: dict[str, list[dict[str, str]]] = {
    "asr": [{"text": "NULL TEA"}, {"text": "TEA  TWO"}, {"text": "NA"}],
    "pr": [{"text": "Null tea"}, {"text": "TEA  TWO"}, {"text": "NA"}],
    "ks": [{"label": "NULL"}, {"label": "NA"}, {"label": "007"}],
    "sid": [{"speaker": "007"}, {"speaker": "7"}, {"speaker": "nan"}],
    "er": [{"emotion": "calm"}, {"emotion": "None"}, {"emotion": "angry"}],
    "ic": [
        {"action": "on", "object": "lamp", "location": "none"},
        {"action": "off", "object": "lamp", "location": "NA"},
        {"action": "on", "object": "NULL", "location": "NA"},
    ],
    "sf": [
        {"text": "PLAY NULL", "slots": "O song"},
        {"text": "PLAY  NA BY NULL", "slots": "O song  O artist"},
        {"text": "STOP", "slots": "O"},
    ],
}
"""For every task, what three utterances are."""


def entry_of(task: str, manifest: Path, **values: Any) -> Any:
    plugin = registry.load("bench.tasks", task)
    lexicon = {"lexicon": manifest.parent / "lexicon.txt"} if task == "pr" else {}
    return task_entry(plugin, {"manifest": manifest, **lexicon, **values}, f"tasks.{task}")


def task_of(name: str, **changes: Any) -> Any:
    plugin = registry.load("bench.tasks", name)
    return plugin(plugin.presets["smoke"].model_copy(update=changes))
