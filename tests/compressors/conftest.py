"""What the tests of all compressors share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Teachers' units are kept outside the work folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPERB_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
