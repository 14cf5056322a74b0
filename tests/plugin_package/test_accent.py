"""The conformance test of the package's task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accent_task import Accent

from bench.testing import TaskConformance, write_speech

SPLITS = ("train", "train", "train", "train", "dev", "dev", "test", "test")


class TestAccent(TaskConformance):
    task = Accent

    @classmethod
    def write_data(cls, folder: Path) -> Mapping[str, Any]:
        write_speech(folder, len(SPLITS))
        rows = [f"speech-{index}.wav,{split},{'north' if index % 2 else 'south'}" for index, split in enumerate(SPLITS)]
        (folder / "accents.csv").write_text("\n".join(["path,split,accent", *rows]))
        return {"table": "accents.csv"}
