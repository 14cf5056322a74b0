"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
