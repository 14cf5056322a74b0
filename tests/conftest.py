"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.process_state import restored_process

# As many test processes as there are cores, one thread each: threads that wait for each other waste both. Before any
# test imports torch, and for the programs that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A package of its own, whose tests run where it is installed: see tests/application/test_plugins.py.
collect_ignore = ["plugin_package"]

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def the_process_as_it_was() -> Iterator[None]:
    """Undo what `bench.cli.main` does to its process."""
    with restored_process():
        yield


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
def embedded_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data file of small embedded corpora: synthesised sentences and keywords."""
    from tests.helpers.embedded import write_embedded

    return write_embedded(tmp_path_factory.mktemp("embedded"), ("asr", "ks"))


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six files of speech-like audio at 16 kHz, 1 to 3 s each."""
    from bench.testing import write_speech  # Here, for it imports torch.

    folder = tmp_path_factory.mktemp("speech")
    write_speech(folder)
    return folder
