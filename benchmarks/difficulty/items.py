"""What is classified or transcribed: the recordings of an embedded corpus, read from its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError
from tasks.mini.manifest import MANIFEST, read_manifest

CLASSIFICATION = ("ks", "sid", "er", "ic")
RECOGNITION = ("asr", "sf")
TASKS = ("ks", "asr", "sid", "er", "ic", "sf")
EMOTIONS = ("neu", "hap", "ang", "sad")
SILENCE = "_silence_"
DEV_SHARE_OF_FOLD = 0.2
"""Where a corpus has sessions and no dev set. Source: s3prl's recipe ``SuperbER``."""


@dataclass(frozen=True)
class Item:
    """One example of a task."""

    path: Path
    split: str
    """``train``, ``dev``, ``test``, or a session."""
    text: str
    label: str
    """The class; for SF the slot of each word."""
    speaker: str
    start: int = 0
    """First sample at 16 kHz."""
    num_samples: int | None = None
    """All that follow where None."""


@dataclass(frozen=True)
class Fold:
    """Which items are trained on, choose, and are tested: indices."""

    train: Sequence[int]
    dev: Sequence[int]
    test: Sequence[int]


def read_items(data: Path, task: str) -> list[Item]:
    """List the examples of a task.

    Raises:
        UserError: the corpus is not there.
    """
    folder = data / task
    if not (folder / MANIFEST).is_file():
        raise UserError(f"Expected an embedded corpus at {folder}. Found none. Make it with `bench data synth {data}`.")
    rows = read_manifest(folder)
    if task == "er":
        rows = [row for row in rows if row["label"] in EMOTIONS]
    return [item for row in rows for item in _items(folder, row)]


def folds(items: Sequence[Item]) -> list[Fold]:
    """Split the examples: by their splits, or, where these are sessions, once for every session left out."""
    splits = np.array([item.split for item in items])
    if "test" in splits:
        train, dev, test = (np.flatnonzero(splits == name).tolist() for name in ("train", "dev", "test"))
        return [Fold(train, dev, test)]
    made = []
    for session in sorted(set(splits)):
        others = np.random.RandomState(0).permutation(np.flatnonzero(splits != session))
        num_dev = round(DEV_SHARE_OF_FOLD * len(others))
        made.append(
            Fold(sorted(others[num_dev:]), sorted(others[:num_dev]), np.flatnonzero(splits == session).tolist())
        )
    return made


def _items(folder: Path, row: Mapping[str, str]) -> Iterator[Item]:
    item = Item(folder / row["path"], row["split"], row["text"], row["label"], row["speaker"])
    if row["label"] != SILENCE or row["split"] != "train":
        yield item
        return
    # Training cuts its silences out of long noises, as SUPERB does.
    for second in range(int(float(row["duration_s"]))):
        yield Item(item.path, "train", "", SILENCE, "", second * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
