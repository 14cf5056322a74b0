"""Is the embedded teacher what its card says, and has it learned?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from bench.audio.files import read_header, read_waveform
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.checkpoint import WEIGHTS, read_manifest
from bench.upstream.reference import MINI_HUBERT_FOLDER, reference_config

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven")


def test_it_has_the_shape_whose_random_weights_are_its_baseline() -> None:
    model = load_upstream("mini-hubert")
    assert isinstance(model, UpstreamModel)
    assert model.config == reference_config("random:mini-hubert")
    assert not model.training


def test_it_says_that_it_is_not_self_supervised() -> None:
    assert read_manifest(MINI_HUBERT_FOLDER).provenance["supervision"] == "phone-supervised and speaker-supervised"
    card = (MINI_HUBERT_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "not self-supervised" in card


def test_it_is_small_enough_to_be_shipped() -> None:
    assert (MINI_HUBERT_FOLDER / WEIGHTS).stat().st_size <= 10_000_000


@pytest.mark.slow
@pytest.mark.real_speech
def test_it_tells_real_digits_apart_as_neither_random_weights_nor_its_own_layer_0_do(real_speech: Path) -> None:
    """Digits of humans, none of whom is in its training data: unseen takes, by a linear classifier of time means."""
    train, test = (
        [(path, digit) for digit in DIGITS for path in sorted((real_speech / folder / digit).glob("*.wav"))]
        for folder in ("speech_commands_v1", "speech_commands_test_set_v1")
    )
    assert len(train) > 200
    assert len(test) > 50

    def accuracy(reference: str, layer: int) -> float:
        model = load_upstream(reference)

        def means(files: list[tuple[Path, str]]) -> np.ndarray:
            waveforms = [torch.from_numpy(read_waveform(read_header(path)))[None] for path, _ in files]
            with torch.inference_mode():
                return np.stack([model(waveform)[0][layer][0].mean(0).numpy() for waveform in waveforms])

        classifier = RidgeClassifier().fit(means(train), [digit for _, digit in train])
        return float(classifier.score(means(test), [digit for _, digit in test]))

    last = accuracy("mini-hubert", layer=12)
    assert last > accuracy("random:mini-hubert", layer=12) + 0.25
    assert 1 - last < 0.5 * (1 - accuracy("mini-hubert", layer=0))
