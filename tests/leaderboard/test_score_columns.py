"""The leaderboard's columns of scores over many tasks, from records."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import pandas as pd
import pytest

from bench.leaderboard.collate import leaderboard
from bench.leaderboard.overall import RunContext, scale_problems
from bench.leaderboard.run_leaderboard import primary_metrics
from bench.leaderboard.score import SIX_TASKS
from bench.leaderboard.superb_deviations import deviations
from bench.leaderboard.tidy import tidy_scores
from bench.store.records import Record
from tests.helpers.records import counts, record, standard_record

RUN = RunContext("teacher-ref", {"teacher": "teacher-ref", "fbank": "fbank"}, primary_metrics(["asr", "ks"]))


ENDS = [
    record("teacher", "ks", accuracy=0.9),
    record("teacher", "asr", wer=0.2, cer=0.1),
    record("fbank", "ks", accuracy=0.5),
    record("fbank", "asr", wer=0.8, cer=0.9),
]


def scores(records: list[Record], run: RunContext = RUN) -> pd.DataFrame:
    return leaderboard(records, run=run).set_index("model")


def problems(records: list[Record]) -> list[str]:
    table = tidy_scores(records)
    return scale_problems(table[table["split"] == "test"], RUN)


class TestRelativeScore:
    def test_mean_over_tasks_and_deviation_over_seeds(self) -> None:
        students = [
            record("small", task, seed, "teacher-ref", **values)
            for seed, accuracy, wer in ((0, 0.7, 0.5), (1, 0.8, 0.35))
            for task, values in (("ks", {"accuracy": accuracy}), ("asr", {"wer": wer, "cer": 0.5}))
        ]
        table = scores([*ENDS, *students])
        seeds = [(50 + 50) / 2, (75 + 75) / 2]
        assert table.loc["small", "relative_score"] == pytest.approx(mean(seeds))
        assert table.loc["small", "relative_score_std"] == pytest.approx(stdev(seeds))
        assert table.loc["teacher", "relative_score"] == pytest.approx(100)
        assert table.loc["fbank", "relative_score"] == pytest.approx(0)
        assert pd.isna(table.loc["teacher", "relative_score_std"])

    def test_a_row_with_fewer_tasks_has_none(self) -> None:
        table = scores([*ENDS, record("small", "ks", teacher="teacher-ref", accuracy=0.7)])
        assert pd.isna(table.loc["small", "relative_score"])
        assert table.loc["teacher", "relative_score"] == pytest.approx(100)

    def test_without_filter_banks_there_is_none(self) -> None:
        assert scores([row for row in ENDS if row.cell.model != "fbank"])["relative_score"].isna().all()
        assert scores(ENDS[:3])["relative_score"].isna().all()

    def test_students_of_other_teachers_have_none(self) -> None:
        students = [
            record("small", "ks", teacher="other", accuracy=0.7),
            record("small", "asr", teacher="other", wer=0.5, cer=0.1),
        ]
        table = scores([*ENDS, *students])
        assert pd.isna(table.loc["small", "relative_score"])

    def test_models_as_they_are_are_measured_against_the_run_s_teacher(self) -> None:
        other = [record("other", "ks", accuracy=0.7), record("other", "asr", wer=0.5, cer=0.1)]
        assert scores([*ENDS, *other]).loc["other", "relative_score"] == pytest.approx(50)

    def test_an_evaluation_knows_teachers_by_their_students(self) -> None:
        students = [
            record("small", "ks", teacher="teacher-ref", accuracy=0.7),
            record("small", "asr", teacher="teacher-ref", wer=0.5, cer=0.1),
        ]
        run = RunContext(None, {**RUN.references, "small": "models/small"}, RUN.metrics)
        assert scores([*ENDS, *students], run)["relative_score"].to_dict() == pytest.approx(
            {"teacher": 100, "fbank": 0, "small": 50}
        )
        assert scores(ENDS, run)["relative_score"].isna().all()

    def test_a_teacher_below_filter_banks_is_no_scale(self) -> None:
        weak = record("teacher", "asr", wer=0.81, cer=0.1)
        assert scores([ENDS[0], weak, *ENDS[2:]])["relative_score"].isna().all()


class TestGapWithinItsStandardError:
    """Teacher and filter banks one of 60 clips apart: a student's relative score would be chance, such as 600."""

    @staticmethod
    def of(teacher: float, fbank: float, seeds: int = 1, **settings: Any) -> list[Record]:
        values = {"teacher": (teacher, None), "fbank": (fbank, None), "small": (0.5, "teacher-ref")}
        return [
            record(model, "ks", seed, reference, accuracy=accuracy).model_copy(update={"settings": settings})
            for model, (accuracy, reference) in values.items()
            for seed in range(seeds)
        ]

    def test_there_is_no_relative_score_and_a_reason(self) -> None:
        records = self.of(21 / 60, 20 / 60, num_test_utterances=60)
        assert scores(records)["relative_score"].isna().all()
        (reason,) = problems(records)
        for part in ("teacher", "fbank", "ks accuracy", "35.00 and 33.33"):
            assert part in reason
        # The binomial formula: the root of (0.35 x 0.65 + 0.3333 x 0.6667) / 60.
        assert "8.66" in reason

    def test_a_gap_beyond_it_is_a_scale(self) -> None:
        records = self.of(0.9, 0.4, num_test_utterances=60)
        assert scores(records).loc["small", "relative_score"] == pytest.approx(20)
        assert problems(records) == []

    def test_many_utterances_make_a_small_gap_real(self) -> None:
        assert problems(self.of(21 / 60, 20 / 60, num_test_utterances=6_000)) == []

    def test_folds_count_together(self) -> None:
        folds = {str(fold): {"num_test_utterances": 1_200} for fold in range(5)}
        assert problems(self.of(21 / 60, 20 / 60, folds=folds)) == []
        few = {"0": {"num_test_utterances": 60}}
        assert problems(self.of(21 / 60, 20 / 60, folds=few)) != []

    def test_seeds_that_differ_more_than_the_gap(self) -> None:
        records = [
            record(model, "ks", seed, accuracy=mean + spread)
            for model, mean in (("teacher", 0.51), ("fbank", 0.5))
            for seed, spread in enumerate((-0.05, 0, 0.05))
        ]
        assert len(problems(records)) == 1
        steady = [
            record(one.cell.model, "ks", 0, accuracy=0.51 - 0.01 * (one.cell.model == "fbank")) for one in records
        ]
        assert problems(steady[::3]) == []

    def test_error_rates_above_one_have_a_standard_error_too(self) -> None:
        ends = [record("teacher", "asr", wer=1.2, cer=0.5), record("fbank", "asr", wer=1.25, cer=0.6)]
        few = [one.model_copy(update={"settings": {"num_test_utterances": 20}}) for one in ends]
        assert len(problems(few)) == 1


class TestSuperbScores:
    def test_the_six_tasks_on_superb_s_corpora(self) -> None:
        row = scores([standard_record(task) for task in SIX_TASKS], RunContext()).loc["model"]
        assert row["superb6_score"] == pytest.approx(1000)
        assert pd.isna(row["superb_score"])

    def test_five_tasks_have_none(self) -> None:
        row = scores([standard_record(task) for task in SIX_TASKS[1:]], RunContext()).loc["model"]
        assert pd.isna(row["superb6_score"])

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"preset": "mini"}, "preset mini"),
            ({"protocol": "cached"}, "protocol cached"),
            ({"settings": counts(200_000, 3_080, 1)}, "ks: 3,080 test utterances, not 3,081"),
            ({"settings": counts(1_000, 3_081, 1)}, "ks: 1,000 updates of 200,000"),
            ({"settings": {}}, "ks: an unknown number of updates of 200,000"),
        ],
    )
    def test_what_differs_from_superb_leaves_none(self, changes: dict[str, Any], reason: str) -> None:
        own = standard_record("ks").model_copy(update=changes)
        assert deviations(own)[0] == reason
        others = [standard_record(task) for task in SIX_TASKS if task != "ks"]
        assert pd.isna(scores([*others, own], RunContext()).loc["model", "superb6_score"])

    def test_four_folds_are_not_superb_s(self) -> None:
        whole = standard_record("er")
        assert deviations(whole) == []
        folds = {fold: values for fold, values in whole.settings["folds"].items() if fold != "4"}
        assert deviations(whole.model_copy(update={"settings": {"folds": folds}})) == ["er: 4 of 5 folds"]
