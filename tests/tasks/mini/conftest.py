"""Small embedded corpora, made once by the real synthesiser."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.mini.corpora import MiniCorpora

SCALE = 0.05


@pytest.fixture(scope="session")
def synthesizer_installed() -> None:
    if importlib.util.find_spec("espeakng_loader") is None or not hasattr(os, "fork"):
        pytest.skip("no synthesiser: pip install espeakng-loader")


@pytest.fixture(scope="session")
def small_corpora(tmp_path_factory: pytest.TempPathFactory, synthesizer_installed: None) -> MiniCorpora:
    corpora = MiniCorpora(tmp_path_factory.mktemp("mini"), scale=SCALE, num_processes=2)
    corpora.prepare()
    return corpora


@pytest.fixture
def small_and_missing(tmp_path: Path, synthesizer_installed: None) -> Callable[..., MiniCorpora]:
    """Corpora of two dozen recordings that are still to be made."""

    def corpora(**options: int) -> MiniCorpora:
        return MiniCorpora(tmp_path / "corpora", scale=0.001, **options)

    return corpora
