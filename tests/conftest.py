"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

# As many test processes as there are cores, one thread each: threads that wait for each other waste both. Before any
# test imports torch, and for the programs that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def reference() -> Path:
    """The ground-truth files, made by running the reference implementations."""
    return REPOSITORY / "tests" / "reference"


@pytest.fixture(scope="session")
def real_speech() -> Path:
    """The real-speech pack: human speech in corpus layouts, which is not part of the repository."""
    default = REPOSITORY.parent / "shared" / "data" / "real-speech"
    root = Path(os.environ.get("REAL_SPEECH_DIR", default))
    if not root.is_dir():
        pytest.skip(f"real-speech pack absent: nothing at {root}; set REAL_SPEECH_DIR")
    return root


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of speech-like audio at 16 kHz: harmonic tones with a moving envelope, 1 to 3 s each."""
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    for index in range(6):
        seconds = 1.0 + 0.4 * index
        time = np.arange(int(16_000 * seconds)) / 16_000
        pitch = random.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 3 * time))
        phase = 2 * np.pi * np.cumsum(pitch) / 16_000
        voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time))
        soundfile.write(folder / f"speech-{index}.wav", 0.1 * voice + 0.003 * random.standard_normal(len(time)), 16_000)
    return folder
