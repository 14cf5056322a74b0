"""Fixtures of the tests of whole commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def keywords(tmp_path: Path) -> Path:
    """A folder with a corpus of two keywords, twelve clips of 1 s, and its data file ``ks.yaml``."""
    folder = tmp_path / "keywords"
    folder.mkdir()
    seconds = np.arange(16_000) / 16_000
    rows = ["path,split,label"]
    for number in range(12):
        tone = 0.2 * np.sin(2 * np.pi * (300, 900)[number % 2] * seconds + number)
        soundfile.write(folder / f"{number}.wav", tone.astype(np.float32), 16_000)
        rows.append(f"{number}.wav,{('train', 'dev', 'test')[number // 4]},{('low', 'high')[number % 2]}")
    (folder / "ks.csv").write_text("\n".join(rows) + "\n")
    (folder / "ks.yaml").write_text("audio: {layout: folder, root: .}\ntasks: {ks: {manifest: ks.csv}}\n")
    return folder
