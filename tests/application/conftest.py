"""Fixtures of the tests of whole commands."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "real_speech.yaml"


@pytest.fixture(scope="session")
def real_speech_data(tmp_path_factory: pytest.TempPathFactory, real_speech: Path) -> Path:
    """The example data file, moved to where the pack really is."""
    text = EXAMPLE.read_text(encoding="utf-8").replace("../../shared/data/real-speech", str(real_speech))
    path = tmp_path_factory.mktemp("data") / EXAMPLE.name
    path.write_text(text, encoding="utf-8")
    return path
