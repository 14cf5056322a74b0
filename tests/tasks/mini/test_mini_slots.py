"""The SF corpus: Audio SNIPS' layout, values that fill several slots, all of them heard in training."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tasks.bridge import s3prl_compat
from tasks.corpora.snips import SNIPSData, read_snips
from tasks.mini.corpora import MiniCorpora
from tasks.mini.slots import SLOTS, TEMPLATES, Request, Slots, filled

SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """The corpus in full size, without a sound."""
    return [one for one in Slots().utterances(0, 1.0) if isinstance(one, Request)]


def slots_of(text: str, tags: str) -> list[tuple[str, str]]:
    """Slots and their values, in order."""
    found: list[tuple[str, str]] = []
    previous = "O"
    for word, tag in zip(text.split(" "), tags.split(" "), strict=True):
        if tag != "O" and tag == previous:
            found[-1] = (tag, f"{found[-1][1]} {word}")
        elif tag != "O":
            found.append((tag, word))
        previous = tag
    return found


def values(requests: list[Request], *splits: str) -> set[tuple[str, str]]:
    return {found for one in requests if one.split in splits for found in slots_of(one.text, one.label)}


class TestOnDisk:
    def test_s3prl_and_we_read_the_same(self, small_corpora: MiniCorpora) -> None:
        s3prl_compat.install()
        from s3prl.dataio.corpus.snips import SNIPS

        data = SNIPSData.model_validate(small_corpora.data().tasks["sf"])
        ours = read_snips(data)
        theirs = SNIPS(data.root, *(sorted({*table["speaker"]}) for table in ours.values())).data_split
        manifest = small_corpora.manifests()["sf"]
        for split, parsed in zip(SPLITS, theirs, strict=True):
            expected = {Path(row["path"]).stem: row for row in manifest if row["split"] == split}
            table = ours[split].set_index("id")
            assert set(parsed) == set(table.index) == set(expected)
            for name, row in expected.items():
                one = parsed[name]
                assert one["transcription"] == table.loc[name, "transcription"] == row["text"]
                assert one["iob"] == table.loc[name, "iob"] == row["label"]
                assert one["intent"] == table.loc[name, "intent"]
                assert one["intent"] in TEMPLATES
                assert one["speaker"] == table.loc[name, "speaker"] == row["speaker"]
                assert one["wav_path"] == table.loc[name, "wav_path"] == str(data.root / row["path"])

    def test_s3prls_tokenizer_marks_each_slot_once(self, requests: list[Request], tmp_path: Path) -> None:
        """Its tags carry no ``B-`` and ``I-``: it finds the ends of a slot by itself, and adds such marks."""
        s3prl_compat.install()
        from s3prl.dataio.encoder.tokenizer import CharacterSlotTokenizer
        from s3prl.metric.slot_filling import parse

        (tmp_path / "text.txt").write_text("\n".join(" ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
        (tmp_path / "slot.txt").write_text("\n".join(["O", *SLOTS]))
        tokenizer = CharacterSlotTokenizer.load_from_file(str(tmp_path / "text.txt"), str(tmp_path / "slot.txt"))
        for one in requests[:100]:
            said = tokenizer.decode(tokenizer.encode(one.text, one.label))
            text, _, slots, _ = parse(said, said)
            assert text == one.text
            assert slots == ";".join(f"{value}:{slot}" for slot, value in slots_of(one.text, one.label))


class TestPlan:
    def test_sizes(self, requests: list[Request]) -> None:
        assert Counter(one.split for one in requests) == {"train": 1120, "dev": 112, "test": 400}
        intents = Counter((one.split, one.intent) for one in requests)
        assert len(intents) == 3 * len(TEMPLATES) == 15
        assert min(intents["test", intent] for intent in TEMPLATES) >= 20
        assert len(SLOTS) == 10

    def test_no_sentence_is_said_twice(self, requests: list[Request]) -> None:
        assert len({one.text for one in requests}) == len(requests)

    def test_every_value_of_dev_and_test_is_heard_in_training_in_its_slot(self, requests: list[Request]) -> None:
        assert values(requests, "dev", "test") <= values(requests, "train")
        assert values(requests, "train") == {(slot, value.upper()) for slot in SLOTS for value in SLOTS[slot]}

    def test_most_values_fill_more_than_one_slot(self, requests: list[Request]) -> None:
        slots_by_value = defaultdict(set)
        for slot, value in values(requests, "train"):
            slots_by_value[value].add(slot)
        ambiguous = [value for value, slots in slots_by_value.items() if len(slots) > 1]
        assert len(ambiguous) > 0.7 * len(slots_by_value)
        several_words = [value for value in slots_by_value if " " in value]
        assert len(several_words) > 0.4 * len(slots_by_value)

    def test_no_value_stands_twice_in_a_sentence(self, requests: list[Request]) -> None:
        for one in requests:
            said = [value for _, value in slots_of(one.text, one.label)]
            assert len({*said}) == len(said) > 0

    def test_every_slot_of_a_template_is_known_and_apart_from_its_like(self) -> None:
        for template in (template for templates in TEMPLATES.values() for template in templates):
            places = [word.strip("{}") for word in template.split(" ") if word.startswith("{")]
            assert {*places} <= {*SLOTS}
            assert len({*places}) == len(places)

    def test_a_template_is_filled_word_by_word(self) -> None:
        values = {"city": "new haven", "day": "on friday"}
        assert filled("is it cold in {city} {day}", values) == (
            "is it cold in new haven on friday",
            "O O O O city city day day",
        )
