"""Numbers in settings have upper bounds: none makes a program fill the memory or run for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from bench import registry
from bench.contracts import AudioSource
from compressors.pretraining.config import PRESETS as PRETRAINING

HUGE = 2**50


def configurations() -> Iterator[Any]:
    for group in ("bench.compressors", "bench.tasks"):
        for name in registry.names(group):  # type: ignore[arg-type]
            for preset, config in registry.load(group, name).presets.items():  # type: ignore[arg-type]
                yield pytest.param(config, id=f"{name}-{preset}")
    for preset, config in PRETRAINING.items():
        yield pytest.param(config, id=f"pretrain-{preset}")
    yield pytest.param(AudioSource(), id="audio")


def with_huge_numbers(values: Any) -> Iterator[tuple[str, Any]]:
    """Make copies of plain values in which one whole number each is huge, with its place."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        copies = [("", HUGE)] if type(value) is int else with_huge_numbers(value)
        for place, inner in copies:
            copied = dict(values) if isinstance(values, dict) else list(values)
            copied[key] = inner
            yield f"{key}.{place}".rstrip("."), copied


@pytest.mark.parametrize("config", configurations())
def test_whole_numbers_have_upper_bounds(config: Any) -> None:
    for place, values in with_huge_numbers(config.model_dump(mode="json")):
        with pytest.raises(ValidationError):
            pytest.fail(f"{place} may be huge: {type(config).model_validate(values)!r:.80}")


@pytest.mark.parametrize("field", ["min_duration_s", "max_duration_s", "seconds_per_batch"])
def test_lengths_of_training_audio_have_upper_bounds(field: str) -> None:
    config = registry.load("bench.compressors", "dphubert").presets["smoke"]
    with pytest.raises(ValidationError, match="86400"):
        type(config).model_validate({**config.model_dump(mode="json"), field: 1e9})


@pytest.mark.parametrize(("field", "value"), [("hours", 1e30), ("hours_seed", -1)])
def test_audio_is_drawn_within_bounds(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        AudioSource.model_validate({"root": "/a", field: value})
