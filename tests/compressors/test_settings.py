"""Where settings are defined, and the learning rate of a stage."""

from __future__ import annotations

import pytest

from bench import registry
from compressors.settings import StageConfig


@pytest.mark.parametrize("name", ["distill-only", "dphubert", "int8", "low-rank", "masked-distill", "prune-only"])
def test_a_reader_finds_a_method_s_settings_in_two_files(name: str) -> None:
    config_type = registry.load("bench.compressors", name).config_type
    files = {
        part.__module__
        for part in config_type.__mro__
        if set(vars(part).get("__annotations__", ())) & set(config_type.model_fields)
    }
    assert files <= {config_type.__module__, "compressors.settings"}


def test_the_last_update_counts_on_request() -> None:
    stage = StageConfig(updates=10, warmup_updates=5, learning_rate=1.0)
    factors = [stage.learning_rate_factor(update) for update in range(10)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    used = stage.model_copy(update={"use_last_update": True})
    factors = [used.learning_rate_factor(update) for update in range(10)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_parts_use_theirs_where_the_stage_does() -> None:
    stage = StageConfig(updates=10, warmup_updates=2, learning_rate=1.0, use_last_update=True)
    assert all(stage.part(part, 2).learning_rate_factor(4) > 0 for part in (1, 2))
