"""Do the probes of the embedded corpora's difficulty learn what is there, and nothing where nothing is?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from difficulty import classification, recognition
from difficulty.items import Fold, Item, folds
from difficulty.scoring import Counts, correct, resampled_weights, slot_errors, word_errors
from torch import Tensor

NUM_CLASSES = 4
FOLD = Fold(train=range(120), dev=range(120, 160), test=range(160, 280))
TARGETS = torch.arange(280) % NUM_CLASSES
TRAINING = classification.Training(num_epochs=6)


def noise(*, seed: int = 0) -> Tensor:
    """280 utterances of 30 frames of 80 bands that say nothing of their class."""
    return torch.randn(280, 30, 80, generator=torch.Generator().manual_seed(seed))


def separable() -> Tensor:
    """The same, but each class has a quarter of the bands in which it is louder."""
    bands = noise()
    bands.unflatten(2, (NUM_CLASSES, 20))[torch.arange(280), :, TARGETS] += 1.0
    return bands


def from_means(bands: Tensor, targets: Tensor) -> list[int]:
    return classification.predict_from_means(bands.mean(1)[:, None], targets, FOLD, seed=0, num_steps=100)


def from_bands(bands: Tensor, targets: Tensor) -> list[int]:
    return classification.predict_from_bands(list(bands), targets, FOLD, seed=0, training=TRAINING)


Probe = Callable[[Tensor, Tensor], list[int]]


def accuracy(predictions: Sequence[int]) -> float:
    return float((torch.tensor(predictions) == TARGETS[FOLD.test]).float().mean())


@pytest.mark.parametrize("probe", [from_means, from_bands])
class TestClassification:
    def test_finds_what_separates_the_classes(self, probe: Probe) -> None:
        assert accuracy(probe(separable(), TARGETS)) == 1.0

    def test_is_at_chance_on_noise(self, probe: Probe) -> None:
        # 0.25 and four standard errors of 120 answers.
        assert accuracy(probe(noise(), TARGETS)) < 0.41

    def test_repeats_itself(self, probe: Probe) -> None:
        assert probe(noise(), TARGETS) == probe(noise(), TARGETS)

    def test_does_not_learn_from_the_answers_of_the_test_set(self, probe: Probe) -> None:
        others = TARGETS.clone()
        others[list(FOLD.test)] = 0
        assert probe(noise(), others) == probe(noise(), TARGETS)


class TestRecognition:
    def test_transcribes_tones_that_spell_words(self) -> None:
        """A band a character: the probe must learn them, and s3prl's tokens must come back as text."""
        random = np.random.RandomState(0)
        items = [Item(Path(), "train", " ".join(random.choice(["AB", "CAB", "BAC"], 2)), "", "") for _ in range(120)]
        tokenizer, tokens = recognition.tokenized(items)
        utterances = []
        for spelled in tokens:
            frames = torch.randn(len(spelled), 4, 80, generator=torch.Generator().manual_seed(0)) * 0.1
            frames[torch.arange(len(spelled)), :2, torch.tensor(spelled)] += 3.0
            utterances.append(frames.reshape(1, -1, 80))
        fold = Fold(train=range(80), dev=range(80, 100), test=range(100, 120))
        said = recognition.transcribe(
            lambda: recognition.WeightedSum(utterances, fold.train),
            utterances,
            tokenizer,
            tokens,
            fold,
            dev_errors=lambda said: word_errors([items[index].text for index in fold.dev], said)["wer"].score(),
            seed=0,
            training=recognition.Training(num_epochs=25, hidden_size=32, learning_rate=1e-2),
        )
        errors = word_errors([items[index].text for index in fold.test], said)["wer"]
        assert errors.score() < 0.1


class TestFolds:
    def test_leave_each_session_out_once(self) -> None:
        items = [Item(Path(), f"session{index % 5 + 1}", "", "neu", "") for index in range(50)]
        made = folds(items)
        assert sorted(index for fold in made for index in fold.test) == list(range(50))
        for fold in made:
            assert len(fold.test) == 10
            assert sorted([*fold.train, *fold.dev, *fold.test]) == list(range(50))


class TestScores:
    def test_have_the_binomial_standard_error(self) -> None:
        counts = correct(["a"] * 400, ["a"] * 100 + ["b"] * 300)["accuracy"]
        assert counts.score() == 0.25
        spread = counts.resampled_scores(resampled_weights([""] * 400)).std()
        assert spread == pytest.approx((0.25 * 0.75 / 400) ** 0.5, rel=0.1)

    def test_count_speakers_not_utterances_where_speakers_differ(self) -> None:
        """Four speakers of 100 utterances, all right or all wrong: four answers, not four hundred."""
        right = np.repeat([1.0, 0.0, 1.0, 0.0], 100)
        spread = (
            Counts(right, np.ones(400)).resampled_scores(resampled_weights(np.repeat(list("abcd"), 100).tolist())).std()
        )
        assert spread == pytest.approx((0.25 / 4) ** 0.5, rel=0.1)

    def test_are_s3prls_on_slots(self) -> None:
        from s3prl.metric.slot_filling import slot_type_f1, slot_value_cer

        meant = ["PLAY B-artist ANNA LEE E-artist ON B-day MONDAY E-day", "RAIN IN B-city ROME E-city", "HELLO"]
        said = ["PLAY B-artist ANN LEA E-artist NOW", "RAIN B-day TODAY E-day", "HELLO"]
        counts = slot_errors(meant, said)
        assert counts["slot_type_f1"].score() == pytest.approx(slot_type_f1(said, meant))
        assert counts["slot_value_cer"].score() == pytest.approx(slot_value_cer(said, meant))
