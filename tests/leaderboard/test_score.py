"""Scores over many tasks: the public leaderboard's, and relative ones."""

from __future__ import annotations

import pytest

from bench.leaderboard.published import SOURCES, PublishedRow, published_rows
from bench.leaderboard.score import SIX_TASKS, SUPERB_ANCHORS, relative_score, superb6_score, superb_score

TEACHER = {"ks": {"accuracy": 0.9}, "sf": {"slot_type_f1": 0.8, "slot_value_cer": 0.2}}
FBANK = {"ks": {"accuracy": 0.5}, "sf": {"slot_type_f1": 0.4, "slot_value_cer": 0.6}}
STUDENT = {"ks": {"accuracy": 0.7}, "sf": {"slot_type_f1": 0.8, "slot_value_cer": 0.6}}

# Computed once from the same cells by another program.
SIX_TASK_SCORES = {"HuBERT Base": 915.4, "DPHuBERT": 839.2, "ARMHuBERT-S": 799.0, "DistilHuBERT": 761.6, "TERA": 424.8}

ON_THE_LEADERBOARD = [row for row in published_rows() if {"L", "O"} & set(row.sources)]


def row(model: str) -> PublishedRow:
    return next(row for row in published_rows() if row.model == model)


class TestSuperbScore:
    def test_the_leaderboard_s_rows_are_reproduced(self) -> None:
        assert len(ON_THE_LEADERBOARD) == 28
        for published in ON_THE_LEADERBOARD:
            score = superb_score(published.scores)
            assert score is not None
            if published.model != "WavLM Large":  # Its score was computed from more digits than its cells have.
                assert round(score) == published.superb_score_published, published.model

    def test_wavlm_large_lacks_a_hundredth(self) -> None:
        assert superb_score(row("WavLM Large").scores) == pytest.approx(1144.49, abs=0.005)

    def test_ends_of_the_scale(self) -> None:
        best = {
            task: {metric: anchors.state_of_the_art for metric, anchors in metrics.items()}
            for task, metrics in SUPERB_ANCHORS.items()
        }
        assert superb_score(best) == pytest.approx(1000)
        assert superb6_score(best) == pytest.approx(1000)
        assert superb_score(row("FBANK").scores) == 0

    @pytest.mark.parametrize(("model", "expected"), SIX_TASK_SCORES.items())
    def test_six_tasks(self, model: str, expected: float) -> None:
        scores = {task: row(model).scores[task] for task in SIX_TASKS}
        assert superb6_score(scores) == pytest.approx(expected, abs=0.05)
        assert superb_score(scores) is None

    def test_a_missing_task_or_metric_leaves_none(self) -> None:
        scores = {**row("DPHuBERT").scores, "sf": {"slot_type_f1": 90.0}}
        assert superb_score(scores) is None
        assert superb6_score(scores) is None


class TestRelativeScore:
    def test_slot_filling_averages_its_two_terms(self) -> None:
        # KS is half-way, SF has all of F1 and nothing of CER.
        assert relative_score(STUDENT, FBANK, TEACHER) == pytest.approx(50)

    def test_ends_of_the_scale(self) -> None:
        assert relative_score(TEACHER, FBANK, TEACHER) == pytest.approx(100)
        assert relative_score(FBANK, FBANK, TEACHER) == 0

    def test_further_scores_of_a_model_do_not_count(self) -> None:
        assert relative_score({**STUDENT, "sid": {"accuracy": 0.0}}, FBANK, TEACHER) == pytest.approx(50)

    def test_other_tasks_than_the_teacher_s_make_none(self) -> None:
        assert relative_score({"ks": STUDENT["ks"]}, FBANK, TEACHER) is None
        assert relative_score(STUDENT, {"ks": FBANK["ks"]}, TEACHER) is None

    def test_equal_ends_make_no_scale(self) -> None:
        assert relative_score(STUDENT, TEACHER, TEACHER) is None


def test_every_published_row_names_its_sources() -> None:
    assert len(published_rows()) == 45
    assert all(set(row.sources) <= set(SOURCES) and row.sources for row in published_rows())
