"""Settings of training that could never work are refused before anything runs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from compressors.settings import StageConfig, TrainingConfig


@pytest.mark.parametrize("setting", ["seconds_per_batch", "max_duration_s", "min_duration_s"])
@pytest.mark.parametrize("value", [0, 1e300, float("nan"), float("inf"), -1])
def test_lengths_of_audio(setting: str, value: float) -> None:
    with pytest.raises(ValidationError, match=setting):
        TrainingConfig.model_validate({setting: value})


@pytest.mark.parametrize("setting", ["seconds_per_batch", "max_duration_s"])
def test_lengths_without_a_sample(setting: str) -> None:
    with pytest.raises(ValidationError, match=setting):
        TrainingConfig.model_validate({setting: 1e-300})


@pytest.mark.parametrize("value", [0, float("inf"), float("nan")])
def test_learning_rates(value: float) -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        StageConfig(updates=1, warmup_updates=0, learning_rate=value)


def test_reading_processes() -> None:
    with pytest.raises(ValidationError, match="num_workers"):
        TrainingConfig(num_workers=100_000)
