"""Unlabelled speech: long enough, of many speakers, none of them and nothing they say in a dev or test set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.errors import UserError
from tasks.mini.corpora import CORPORA, SPEAKER_TRIALS, SPOKEN_QUERIES, TWO_SPEAKERS, MiniCorpora
from tasks.mini.phones import read_phones
from tasks.mini.unlabelled import Unlabelled

HOURS = 0.03
STRESS = "\N{MODIFIER LETTER VERTICAL LINE}"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory, synthesizer_installed: None) -> MiniCorpora:
    corpora = MiniCorpora(tmp_path_factory.mktemp("unlabelled"), num_processes=2)
    corpora.prepare_unlabelled(HOURS)
    return corpora


class TestPlan:
    @pytest.fixture(scope="class")
    def plan(self) -> list:
        return Unlabelled(2.0, ()).utterances(0, 1.0)

    def test_has_hundreds_of_speakers_who_say_ten_things(self, plan: list) -> None:
        speakers = {one.speaker for one in plan}
        assert len(speakers) > 150
        assert len(plan) == pytest.approx(10 * len(speakers), abs=10)
        assert len({one.path for one in plan}) == len(plan)

    def test_its_voices_are_heard_in_no_dev_or_test_set(self, plan: list) -> None:
        held_out = {
            one.speaker.voice.name
            for corpus in CORPORA
            for one in corpus.utterances(0, 1.0)
            if one.speaker and one.split != "train"
        }
        assert len(held_out) > 40
        assert not held_out & {one.speaker.voice.name for one in plan}

    def test_more_hours_only_add(self, plan: list) -> None:
        longer = Unlabelled(2.2, ()).utterances(0, 1.0)
        assert longer[: len(plan)] == plan
        assert len(longer) > len(plan)

    def test_what_is_held_out_is_not_said(self, plan: list) -> None:
        held_out = {one.text for one in plan[:100]}
        others = Unlabelled(0.2, held_out).utterances(0, 1.0)
        assert not held_out & {one.text for one in others}

    def test_clean_speech_has_the_same_speakers_and_sentences_without_noise_and_rooms(self, plan: list) -> None:
        clean = Unlabelled(2.0, (), clean=True).utterances(0, 1.0)
        assert [(one.path, one.speaker, one.text) for one in clean] == [
            (one.path, one.speaker, one.text) for one in plan
        ]
        assert min(one.scene.snr_db for one in clean) >= 50
        assert {one.scene.reverberation_s for one in clean} == {0.0}

    @pytest.mark.slow
    def test_dev_and_test_sentences_are_held_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synthesizer_installed: None
    ) -> None:
        told: list[set[str]] = []

        def plan(hours: float, held_out: set[str], *, clean: bool) -> Unlabelled:
            told.append(held_out)
            return Unlabelled(hours, held_out, clean=clean)

        monkeypatch.setattr("tasks.mini.corpora.Unlabelled", plan)
        monkeypatch.setattr(plan, "training_audio", Unlabelled.training_audio, raising=False)
        MiniCorpora(tmp_path).prepare_unlabelled(0.001)
        # The texts of trials, mixtures and queries are no labels.
        for corpus in (corpus for corpus in CORPORA if corpus not in (SPEAKER_TRIALS, TWO_SPEAKERS, SPOKEN_QUERIES)):
            for one in corpus.utterances(0, 1.0):
                assert one.split == "train" or one.text.lower() in told[0]


class TestAudio:
    def test_is_as_long_as_asked_for(self, speech: MiniCorpora) -> None:
        manifest = speech.manifests()["unlabelled"]
        seconds = sum(float(row["duration_s"]) for row in manifest)
        assert seconds / 3600 == pytest.approx(HOURS, rel=0.2)
        assert {row["split"] for row in manifest} == {"train"}

    def test_another_length_is_refused_where_one_is(self, speech: MiniCorpora) -> None:
        with pytest.raises(UserError, match=r"hours0.5 .* holds .*hours0.03"):
            speech.prepare_unlabelled(0.5)


class TestPhones:
    def test_follow_each_other_within_the_recording(self, speech: MiniCorpora) -> None:
        folder = speech.folder / "unlabelled"
        durations = {row["path"]: float(row["duration_s"]) for row in speech.manifests()["unlabelled"]}
        rows = list(read_phones(folder))
        assert [path for path, _ in rows] == list(durations)
        for path, phones in rows:
            assert len(phones) > 5
            times = [time for begun, ended, _ in phones for time in (begun, ended)]
            assert times == sorted(times)
            assert 0 <= times[0] < times[-1] <= durations[path]
            assert all(phone.strip() for _, _, phone in phones)

    def test_are_where_the_sound_is(self, speech: MiniCorpora) -> None:
        """In quiet recordings, vowels are louder than plosives, and all phones together than the rest."""
        folder = speech.folder / "unlabelled"
        snr_db = {row["path"]: float(row["snr_db"]) for row in speech.manifests()["unlabelled"]}
        levels: dict[str, list[float]] = {"vowel": [], "plosive": [], "none": []}
        for path, phones in read_phones(folder):
            if snr_db[path] < 15:
                continue
            samples, rate = soundfile.read(folder / path)
            samples /= np.sqrt(np.mean(np.square(samples)))
            for begun, ended, phone in [(0.0, phones[0][0], "silence"), *phones]:
                kind = {"s": "none", "p": "plosive", "t": "plosive", "k": "plosive"}.get(phone[0])
                kind = "none" if phone == "silence" else "vowel" if phone[0] == STRESS else kind
                part = samples[round(begun * rate) : round(ended * rate)]
                if kind in levels and len(part) > 160 and phone != "s":
                    levels[kind].append(20 * np.log10(np.std(part)))
        vowel, plosive, silence = (np.median(levels[kind]) for kind in ("vowel", "plosive", "none"))
        assert vowel > plosive + 6
        assert plosive > silence + 6

    def test_of_the_tasks_are_kept_too(self, small_corpora: MiniCorpora) -> None:
        for name, manifest in small_corpora.manifests().items():
            phones = dict(read_phones(small_corpora.folder / name))
            assert list(phones) == [row["path"] for row in manifest]
            # Mixtures of two speakers have none.
            assert all(
                bool(phones[row["path"]]) == (bool(row["text"]) and " " not in row["speaker"]) for row in manifest
            )
