"""What the tests of all compressors share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from compressors.training.loop import Training


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Teachers' units are kept outside the work folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPERB_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def training(speech_folder: Path, tmp_path: Path) -> Training:
    """Return the set-up of small stages, two batches per update; see `tests.helpers.small_training`."""
    from bench.audio.files import find_audio, read_headers
    from bench.contracts import Context
    from compressors.settings import TrainingConfig
    from compressors.training.loop import Training

    config = TrainingConfig(seconds_per_batch=3, accumulate_batches=2, checkpoint_updates=3, log_updates=2)
    files = read_headers(find_audio(speech_folder))
    return Training(config, files, tmp_path / "work", tmp_path / "training.csv", Context(seed=3))
