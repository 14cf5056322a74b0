"""What compression broke: planted effects are found, by whom and how, and nothing is found where there is nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.comparison.changes import Changes, find_changes
from bench.comparison.groups import group_utterances
from bench.comparison.rows import find_rows
from bench.comparison.utterances import Utterance
from bench.errors import UserError
from bench.store.records import Cell, ModelCard, Record, RecordStore
from tests.helpers.command_line import bench

OTHER_KEYS = {"teacher": None, "data": {"tasks": {}}, "preset": "mini", "models": {}, "seeds": [0]}
"""Of every run's configuration."""

METRICS = {"ks": ("accuracy",), "asr": ("wer", "cer")}
SPEAKERS = [f"s{index}" for index in range(12)]
NUM_EACH = 20

Rows = Sequence[dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    """Write a finished cell."""

    def write(model: str, rows: Rows, task: str = "ks", seed: int = 0) -> None:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({**OTHER_KEYS, "tasks": {"ks": {}, "asr": {}}}))
        RecordStore(folder).write(
            Record(
                cell=Cell(model=model, task=task, seed=seed),
                card=ModelCard(params=1, size_bytes=4),
                scores={"test": dict.fromkeys(METRICS[task], 0.5)},
                settings={},
                provenance={},
                preset="mini",
                data="mini-1",
                protocol="cached",
            ),
            [{"split": "test", **row} for row in rows],
        )

    return write


def clips(right: Sequence[bool]) -> list[dict[str, Any]]:
    """Keyword clips: 20 of each of 12 speakers, of four labels and many lengths."""
    return [
        {
            "id": f"clip{index:03}",
            "reference": ["yes", "no", "up", "down"][index % 4],
            "prediction": ["yes", "no", "up", "down"][index % 4] if answer else "stop",
            "correct": bool(answer),
            "counts": {"accuracy": [int(answer), 1]},
            "duration_s": 1 + index * 37 % 240 / 240,
            "speaker": SPEAKERS[index // NUM_EACH],
            "snr_db": f"{index * 53 % 240 / 8}",
        }
        for index, answer in enumerate(right)
    ]


def changes(tmp_path: Path, columns: Sequence[str] | None = None, models: Sequence[str] = ("a", "b")) -> list[Changes]:
    return find_changes(find_rows(models, tmp_path / "run", tmp_path), "test", columns)


def standing_out(found: Changes) -> list[tuple[str, str]]:
    return [(group.column, group.value) for group in found.groups if group.stands_out]


class TestPlanted:
    def test_the_broken_speaker_is_found_and_nothing_else(self, write: Any, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        chance = random.random(240)
        now = chance < 0.85
        now[60:80] = chance[60:80] < 0.3
        write("a", clips(chance < 0.9))
        write("b", clips(now))
        (found,) = changes(tmp_path)
        assert standing_out(found) == [("speaker", "s3")]
        worst = found.groups[0]
        before, after = (chance[60:80] < 0.9).sum(), now[60:80].sum()
        assert (worst.num_utterances, worst.num_broken, worst.num_mended) == (20, before - after, 0)
        assert (worst.first_score, worst.other_score) == (before / 20, after / 20)
        assert worst.difference.value == pytest.approx((after - before) / 20)
        assert worst.difference.high < 0
        rest = (np.delete(now, range(60, 80)).sum() - np.delete(chance < 0.9, range(60, 80)).sum()) / 220
        assert worst.lost_more_by == pytest.approx(rest - (after - before) / 20)
        assert {group.column for group in found.groups} == {"speaker", "label", "duration_s", "snr_db"}

    def test_noise_that_breaks_is_found(self, write: Any, tmp_path: Path) -> None:
        random = np.random.default_rng(1)
        noise = np.array([float(clip["snr_db"]) for clip in clips(np.ones(240))])
        chance = random.random(240)
        write("a", clips(chance < 0.9))
        write("b", clips(chance < np.where(noise < 7.5, 0.4, 0.9)))
        (found,) = changes(tmp_path)
        assert standing_out(found)[0] == ("snr_db", "0 to 7.469")
        assert found.groups[0].num_utterances == 60

    def test_nothing_is_found_where_all_lose_alike(self, write: Any, tmp_path: Path) -> None:
        """In 4 pairs of models, over 4 columns and 24 groups; the statistics' own tests count more often."""
        random = np.random.default_rng(2)
        alarms = []
        for _ in range(4):
            chance = random.random(240)
            write("a", clips(chance < 0.9))
            write("b", clips((chance < 0.9) & (random.random(240) < 0.8)))
            (found,) = changes(tmp_path)
            assert found.overall.difference.high < 0
            alarms.append(len(standing_out(found)) > 0)
        assert sum(alarms) <= 1

    def test_word_errors_by_speaker(self, write: Any, tmp_path: Path) -> None:
        def sentences(errors: Sequence[int]) -> list[dict[str, Any]]:
            return [
                row
                | {
                    "reference": row["id"],
                    "correct": bool(wrong == 0),
                    "counts": {"wer": [int(wrong), 10], "cer": [int(wrong), 50]},
                }
                for row, wrong in zip(clips(np.ones(240)), errors, strict=True)
            ]

        random = np.random.default_rng(3)
        before = random.binomial(10, 0.2, 240)
        now = before.copy()
        now[:20] += 3
        write("a", sentences(before), task="asr")
        write("b", sentences(now), task="asr")
        (found,) = changes(tmp_path)
        assert found.metric.name == "wer"
        assert standing_out(found) == [("speaker", "s0")]
        assert found.groups[0].difference.value == pytest.approx(0.3)
        assert found.groups[0].lost_more_by == pytest.approx(0.3)
        kinds = [one.kind for one in found.utterances]
        assert kinds == ["broken" if before[index] == 0 else "worse" for index in range(20)]
        # Sentences that are said once are no groups.
        assert "label" not in {group.column for group in found.groups}


class TestUtterances:
    def test_right_is_right_with_most_seeds(self, write: Any, tmp_path: Path) -> None:
        """Of three seeds, clip 0 is right 3 and 1 times, clip 1 is right 1 and 2 times, clip 2 is right 3 and 2."""
        answers = {"a": [(1, 1, 1), (1, 0, 0), (1, 1, 1)], "b": [(1, 0, 0), (1, 1, 0), (1, 1, 0)]}
        for model, said in answers.items():
            for seed in range(3):
                write(model, clips([clip[seed] for clip in said] + [1] * 237), seed=seed)
        (found,) = changes(tmp_path)
        assert [(one.id, one.kind) for one in found.utterances] == [
            ("clip000", "broken"),
            ("clip001", "mended"),
            ("clip002", "worse"),
        ]
        assert found.seeds == (0, 1, 2)
        assert (found.overall.num_broken, found.overall.num_mended) == (1, 1)
        assert found.overall.difference.value == pytest.approx((-2 + 1 - 1) / 3 / 240)

    def test_the_table_of_changed_utterances(self, write: Any, tmp_path: Path) -> None:
        before, now = clips([1] * 240), clips([1] * 238 + [0, 0])
        now[238]["prediction"] = '=HYPERLINK("http://x")'
        write("a", before)
        write("b", now)
        out = tmp_path / "new" / "changed.csv"
        result = bench(
            "compare", "a", "b", "--changes", "all", "--run", str(tmp_path / "run"), "--out", str(out), cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert "label down" in result.stdout
        assert f"2 utterances that changed are in {out}" in result.stderr
        with out.open(newline="") as file:
            first, second = csv.DictReader(file)
        assert (first["id"], first["change"], first["reference"]) == ("clip238", "broken", "up")
        assert (first["prediction_a"], first["prediction_b"]) == ("up", '\'=HYPERLINK("http://x")')
        assert (second["speaker"], second["accuracy_a"], second["accuracy_b"]) == ("s11", "1.0", "0.0")

    def test_no_change_leaves_an_empty_table(self, write: Any, tmp_path: Path) -> None:
        write("a", clips([1] * 240))
        write("b", clips([1] * 240))
        out = tmp_path / "changed.csv"
        result = bench(
            "compare", "a", "b", "--changes", "all", "--run", str(tmp_path / "run"), "--out", str(out), cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        with out.open(newline="") as file:
            assert list(csv.DictReader(file)) == []


class TestGroups:
    @staticmethod
    def utterances(**columns: Sequence[Any]) -> list[Utterance]:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return [Utterance(str(index), ("",), 1.0, {}, None, row) for index, row in enumerate(rows)]

    def members(self, **columns: Sequence[Any]) -> dict[str, dict[str, int]]:
        found = group_utterances(self.utterances(**columns))
        return {one.column: {value: len(index) for value, index in one.members.items()} for one in found}

    def test_numbers_become_ranges_and_names_do_not(self) -> None:
        numbers = [str(index) for index in range(80)]
        found = self.members(age=numbers, speaker=[str(1000 + index % 16) for index in range(80)])
        assert found["age"] == {"0 to 19.75": 20, "19.75 to 39.5": 20, "39.5 to 59.25": 20, "59.25 to 79": 20}
        assert found["speaker"] == {str(1000 + index): 5 for index in range(16)}

    def test_few_values_are_themselves(self) -> None:
        assert self.members(room=[1, 2] * 10) == {"room": {"1": 10, "2": 10}}

    def test_small_groups_and_missing_values_are_left_out(self) -> None:
        assert self.members(accent=["a"] * 5 + ["b"] * 5 + ["c"] * 4 + [""] * 9) == {"accent": {"a": 5, "b": 5}}
        assert self.members(accent=["a"] * 9 + ["b"] * 4) == {}

    def test_columns_that_part_alike_count_once(self) -> None:
        columns = {"actor": ["a", "b"] * 10, "speaker": ["1", "2"] * 10, "room": ["x"] * 10 + ["y"] * 10}
        assert list(self.members(**columns)) == ["actor", "room"]
        asked = group_utterances(self.utterances(**columns), ["actor", "speaker"])
        assert [one.column for one in asked] == ["actor", "speaker"]

    def test_intents_are_named_in_one_line(self) -> None:
        intents = [["increase", "heat", "none"], ["increase", "volume", "none"]] * 5
        assert set(self.members(intent=intents)["intent"]) == {"increase heat none", "increase volume none"}


class TestRefused:
    def test_unknown_column(self, write: Any, tmp_path: Path) -> None:
        write("a", clips([1] * 240))
        write("b", clips([1] * 240))
        with pytest.raises(UserError, match=r"no column speakr to group by. Did you mean 'speaker'"):
            changes(tmp_path, ["speakr"])

    def test_a_column_of_one_task_only(self, write: Any, tmp_path: Path) -> None:
        for model in "ab":
            write(model, clips([1] * 240))
            counts = {"counts": {"wer": [0, 1], "cer": [0, 1]}}
            rows = [{key: row[key] for key in row if key != "speaker"} | counts for row in clips([1] * 240)]
            write(model, rows, task="asr")
        found = {one.task: {group.column for group in one.groups} for one in changes(tmp_path, ["speaker"])}
        assert found == {"asr": set(), "ks": {"speaker"}}

    @pytest.mark.parametrize("options", [["--out", "x.csv"], ["--changes", "all", "--by", "speaker"]])
    def test_options_that_do_not_go_together(self, options: list[str], tmp_path: Path) -> None:
        result = bench("compare", "a", "b", *options, cwd=tmp_path)
        assert result.returncode == 2
        assert "--changes" in result.stderr


def test_json_has_all_groups(write: Any, tmp_path: Path) -> None:
    write("a", clips([1] * 240))
    write("b", clips([0] * 20 + [1] * 220))
    result = bench("compare", "a", "b", "--changes", "speaker,label", "--run", "run", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(result.stdout)
    assert len(found["groups"]) == 16
    worst = found["groups"][0]
    assert (worst["column"], worst["value"], worst["num_broken"], worst["stands_out"]) == ("speaker", "s0", 20, True)
    assert worst["difference"] == -1
    assert found["overall"]["difference"] == pytest.approx(-1 / 12)
    # Permutations ignore that utterances of one speaker change together, and say so.
    assert "independent" in found["independence"]
