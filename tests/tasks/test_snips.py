"""Audio SNIPS is read as s3prl's recipe reads it, and refused in one line where it is unusable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import UserError
from tasks.bridge import s3prl_compat
from tasks.corpora.snips import SNIPSData, read_snips
from tasks.sf import SF

# Words, slots and intents; awkward as the real ones are.
REQUESTS = (
    ("PLAY NULL BY NAN", "O song O artist", "PlayMusic"),
    ("PLAY CAFÉ ? BY ÓSCAR & ÅSA", "O song O O artist artist artist", "PlayMusic"),
    ("NA", "city", "GetWeather"),
    ('ADD 楽園追放 TO MY "LIST" \N{EN DASH} NOW .', "O entity_name O playlist_owner playlist O O O", "AddToPlaylist"),
    ("RATE TWO\u00a0WORDS 5", "O object_name rating_value", "RateBook"),
)
SPEAKERS = {"train": ("Ivy", "Salli"), "valid": ("Aditi",), "test": ("Brian", "Emma")}


@pytest.fixture
def requests(tmp_path: Path, write_tone: Callable[..., None]) -> SNIPSData:
    """Everyone speaks in every folder, as in the real corpus, but is heard in one split only."""
    root = tmp_path / "SNIPS"
    lines = []
    for folder in SPEAKERS:
        for speaker in (name for names in SPEAKERS.values() for name in names):
            for index, (words, slots, intent) in enumerate(REQUESTS):
                name = f"{speaker}-snips-{folder}-{index + 8}"
                write_tone(root / folder / f"{name}.wav", 0.2 + 0.05 * index, 200.0)
                lines.append(f"{name} BOS {words} EOS\tO {slots} {intent}\n")
    (root / "all.iob.snips.txt").write_text("".join(lines), encoding="utf-8")
    return SNIPSData(
        root=root,
        train_speakers=SPEAKERS["train"],
        dev_speakers=SPEAKERS["valid"],
        test_speakers=SPEAKERS["test"],
    )


class TestCorpus:
    def test_equals_what_s3prl_writes(self, requests: SNIPSData, tmp_path: Path) -> None:
        recipe = s3prl_compat.recipe_class("s3prl.problem.asr.superb_sf", "SuperbSF")
        arguments = {
            "dataset_root": str(requests.root),
            "train_speakers": requests.train_speakers,
            "valid_speakers": requests.dev_speakers,
            "test_speakers": requests.test_speakers,
        }
        recipe().prepare_data(arguments, str(tmp_path), str(tmp_path))
        ours = read_snips(requests)
        for split, name in {"train": "train", "dev": "valid", "test": "test"}.items():
            theirs = s3prl_compat.read_csv(tmp_path / f"{name}.csv")
            pd.testing.assert_frame_equal(ours[split][list(theirs.columns)], theirs, check_dtype=False)

    def test_words_and_slots_are_normalised_together(self, requests: SNIPSData) -> None:
        dev = read_snips(requests)["dev"].set_index("id")
        assert list(dev.index) == sorted(f"Aditi-snips-valid-{index + 8}" for index in range(len(REQUESTS)))
        assert dev.loc["Aditi-snips-valid-9", "transcription"] == "PLAY CAFE BY OSCAR AND ASA"
        assert dev.loc["Aditi-snips-valid-9", "iob"] == "O song O artist artist artist"
        assert dev.loc["Aditi-snips-valid-11", "transcription"] == "ADD EXPELLED TO MY LIST NOW"
        assert dev.loc["Aditi-snips-valid-8"].drop("wav_path").to_dict() == {
            "num_samples": 3200,
            "transcription": "PLAY NULL BY NAN",
            "iob": "O song O artist",
            "intent": "PlayMusic",
            "speaker": "Aditi",
            "corpus_split": "valid",
        }

    def test_speakers_are_the_recipes_unless_named(self) -> None:
        recipe = s3prl_compat.recipe_class("s3prl.problem.asr.superb_sf", "SuperbSF")
        theirs = recipe().default_config()["prepare_data"]
        data = SNIPSData(root=Path("SNIPS"))
        assert list(data.train_speakers) == theirs["train_speakers"]
        assert list(data.dev_speakers) == theirs["valid_speakers"]
        assert list(data.test_speakers) == theirs["test_speakers"]

    def test_no_names_mean_everyone_in_the_folder(self, requests: SNIPSData) -> None:
        tables = read_snips(requests.model_copy(update={"dev_speakers": ()}))
        assert set(tables["dev"]["speaker"]) == {"Ivy", "Salli", "Aditi", "Brian", "Emma"}
        assert set(tables["test"]["speaker"]) == {"Brian", "Emma"}

    def test_audio_without_a_line_is_left_out_and_told(
        self, requests: SNIPSData, write_tone: Callable[..., None], caplog: pytest.LogCaptureFixture
    ) -> None:
        write_tone(requests.root / "train" / "Ivy-snips-train-99.wav", 0.2, 200.0)
        with caplog.at_level(logging.WARNING, logger="tasks.corpora.snips"):
            tables = read_snips(requests)
        assert "Ivy-snips-train-99" not in set(tables["train"]["id"])
        assert "Left out 1 files" in caplog.text

    def test_subfolders_do_and_change_no_order(self, requests: SNIPSData) -> None:
        moved = requests.root / "train" / "deep" / "Ivy-snips-train-8.wav"
        moved.parent.mkdir()
        (requests.root / "train" / moved.name).rename(moved)
        train = read_snips(requests)["train"].set_index("id")
        assert train.loc["Ivy-snips-train-8", "wav_path"] == str(moved)
        assert list(train.index) == sorted(train.index)


def rewrite(root: Path, old: str, new: str) -> None:
    file = root / "all.iob.snips.txt"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def remove_transcripts(root: Path) -> None:
    (root / "all.iob.snips.txt").unlink()


def remove_folder(root: Path) -> None:
    (root / "valid").rename(root / "dev")


def remove_speaker(root: Path) -> None:
    for path in (root / "test").glob("Emma-*"):
        path.unlink()


def remove_one(root: Path) -> None:
    (root / "train" / "Ivy-snips-train-8.wav").unlink()


def double_audio(root: Path) -> None:
    (root / "train" / "deep").mkdir()
    (root / "train" / "deep" / "Ivy-snips-train-8.wav").write_bytes(
        (root / "train" / "Ivy-snips-train-8.wav").read_bytes()
    )


def double_line(root: Path) -> None:
    rewrite(root, "Ivy-snips-train-9 ", "Ivy-snips-train-8 ")


def no_tab(root: Path) -> None:
    rewrite(root, "EOS\tO", "EOS O")


def no_end(root: Path) -> None:
    rewrite(root, "NAN EOS\t", "NAN\t")


def slot_too_many(root: Path) -> None:
    rewrite(root, "O song O artist PlayMusic", "O song O O artist PlayMusic")


def no_words(root: Path) -> None:
    rewrite(root, "BOS NA EOS", "BOS ? EOS")


def other_encoding(root: Path) -> None:
    (root / "all.iob.snips.txt").write_bytes("é".encode("latin-1"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove_transcripts, r"Found no .*all\.iob\.snips\.txt"),
        (remove_folder, "valid. Found no such folder"),
        (remove_speaker, "Expected audio of Emma in .*test. Found that of Brian"),
        (remove_one, r"no Ivy-snips-train-8\.wav in .*\(1 missing\)"),
        (double_audio, "Ivy-snips-train-8 as .*train.* and as .*train"),
        (double_line, "Ivy-snips-train-8 again in line"),
        (no_tab, "a tab.*Line .*snips.txt"),
        (no_end, "EOS.*Line .*snips.txt"),
        (slot_too_many, "4 words and 5 slots"),
        (no_words, "Expected words in line Ivy-snips-train-10"),
        (other_encoding, "Expected UTF-8"),
    ],
)
def test_an_unusable_corpus_is_refused_in_one_line(
    requests: SNIPSData, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(requests.root)
    with pytest.raises(UserError, match=told) as refusal:
        read_snips(requests)
    assert "\n" not in str(refusal.value)


def test_another_rate_is_refused_or_resampled(requests: SNIPSData, write_tone: Callable[..., None]) -> None:
    write_tone(requests.root / "test" / "Emma-snips-test-8.wav", 0.5, 200.0, 8000)
    with pytest.raises(UserError, match="Found 8000 Hz"):
        read_snips(requests)
    table = read_snips(requests.model_copy(update={"resample": True}))["test"]
    assert table.set_index("id")["num_samples"]["Emma-snips-test-8"] == 8000


def test_a_slot_that_training_never_sees_is_told(requests: SNIPSData) -> None:
    task = SF(SF.presets["paper"])
    task.check(requests)
    transcripts = requests.root / "all.iob.snips.txt"
    lines = transcripts.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = [line.replace("O city", "O place") if "-snips-train-" in line else line for line in lines]
    transcripts.write_text("".join(changed), encoding="utf-8")
    with pytest.raises(UserError, match=r"Expected every slot of test in train too, in .*Found 'city' in test"):
        task.check(requests)
