"""Rows of runs, compared: what is compared with what, and what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli.app import application
from bench.comparison.bootstrap import holm
from bench.comparison.changes import find_changes
from bench.comparison.compare import compare
from bench.comparison.rows import find_rows, newest_run
from bench.errors import UserError
from bench.store.records import Cell, ModelCard, Record, RecordStore
from tests.helpers.command_line import bench

OTHER_KEYS = {"teacher": None, "data": {"tasks": {}}, "preset": "mini", "models": {}, "seeds": [0]}
"""Of every run's configuration."""

CARD = ModelCard(params=1, size_bytes=4)


@pytest.fixture
def write_cell(tmp_path: Path) -> Callable[..., None]:
    """Write a finished cell of KS: 200 answers, right or wrong."""

    def write(
        model: str,
        right: Sequence[int],
        *,
        seed: int = 0,
        run: str = "run",
        steps: int = 10,
        clips_per_speaker: int = 50,
        card: ModelCard = CARD,
        weights_hash: str | None = None,
        **record: Any,
    ) -> None:
        folder = tmp_path / run
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({**OTHER_KEYS, "tasks": {"ks": {"total_steps": steps}}}))
        rows = [
            {
                "id": f"clip{index}",
                "split": split,
                "reference": "yes",
                "counts": {"accuracy": [answer if split == "test" else 1, 1]},
                "speaker": f"s{index // clips_per_speaker}",
            }
            for split in ("test", "dev")
            for index, answer in enumerate(right)
        ]
        RecordStore(folder).write(
            Record(
                cell=Cell(model=model, task="ks", seed=seed),
                card=card,
                scores={"test": {"accuracy": sum(right) / len(right)}, "dev": {"accuracy": 1.0}},
                settings={},
                provenance={"weights_hash": weights_hash} if weights_hash else {},
                **({"preset": "mini", "data": "mini-1", "protocol": "cached"} | record),
            ),
            rows,
        )

    return write


def right(count: int) -> list[int]:
    return [1] * count + [0] * (200 - count)


class TestCompared:
    def test_means_over_seeds_and_their_difference(self, write_cell: Any, tmp_path: Path) -> None:
        for seed, count in enumerate((100, 110)):
            write_cell("a", right(count), seed=seed)
            write_cell("b", right(count + 40), seed=seed)
        (found,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert (found.task, found.metric, found.first, found.other, found.seeds) == ("ks", "accuracy", "a", "b", (0, 1))
        assert found.first_score.mean == pytest.approx(0.525)
        assert found.first_score.std == pytest.approx(0.05 / 2**0.5)
        assert found.difference.value == pytest.approx(0.2)
        assert found.better == "b"
        assert found.is_real_after_holm
        (same,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "dev")
        assert same.difference.value == 0
        assert same.better is None

    def test_other_seeds_widen_the_interval(self, write_cell: Any, tmp_path: Path) -> None:
        """The models differ beyond chance on these utterances; compressions of one method differ as much."""
        for seed, (first, other) in enumerate(((80, 120), (100, 118), (120, 116))):
            write_cell("a", right(first), seed=seed)
            write_cell("b", right(other), seed=seed)
        (found,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert found.these_models.is_real
        assert found.better is None
        assert found.across_seeds.low < 0 < found.these_models.low
        assert found.p_holm == found.across_seeds.p_value

    def test_one_compression_is_no_method(
        self, write_cell: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Rows of three compressions, of three heads on one compression, and of the teacher."""
        compressed = CARD.model_copy(update={"compressor": "dphubert"})
        for seed in range(3):
            write_cell("teacher", right(150 + seed), seed=seed, weights_hash="t")
            write_cell("method", right(100 + seed), seed=seed, card=compressed, weights_hash=f"m{seed}")
            write_cell("single", right(120 + seed), seed=seed, card=compressed, weights_hash="s")
        rows = find_rows(["teacher", "method", "single"], tmp_path / "run", tmp_path)
        method, single = compare(rows, "test")
        assert (method.is_about_methods, method.single_models) == (True, ())
        assert (single.is_about_methods, single.single_models) == (False, ("single",))
        arguments = ["compare", "teacher", "method", "single", "--run", str(tmp_path / "run")]
        assert application()([*arguments, "--json"], standalone_mode=False) == 0
        assert [line["about"] for line in json.loads(capsys.readouterr().out)] == ["methods", "these models"]
        assert application()(arguments, standalone_mode=False) == 0
        assert "one compression (single): the comparison is about these very models only" in capsys.readouterr().out

    def test_one_seed_has_the_interval_of_these_models(self, write_cell: Any, tmp_path: Path) -> None:
        write_cell("a", right(100))
        write_cell("b", right(140))
        (found,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert found.difference == found.these_models
        assert not found.is_about_methods
        assert found.better == "b"

    def test_a_stack_is_paired_with_the_models_it_begins_with(self, write_cell: Any, tmp_path: Path) -> None:
        """Every compression loses 5 points by int8, far less than compressions spread over."""
        for seed, count in enumerate((100, 130, 160)):
            for model, part, less in (("a", "dphubert", 0), ("a8", "dphubert+int8", 10), ("b", "low-rank", 10)):
                card = CARD.model_copy(update={"compressor": part})
                write_cell(model, right(count - less), seed=seed, card=card, weights_hash=f"{model}{seed}")
        stack, other = compare(find_rows(["a", "a8", "b"], tmp_path / "run", tmp_path), "test")
        assert stack.difference.value == other.difference.value == pytest.approx(-0.05)
        assert (stack.better, other.better) == ("a", None)

    def test_without_predictions_the_scores_of_the_seeds_are_compared(
        self, write_cell: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for seed in range(3):
            write_cell("a", right(100 + seed), seed=seed)
            write_cell("b", right(140 + seed), seed=seed)
        for path in (tmp_path / "run").rglob("*.predictions.jsonl"):
            path.unlink()
        with caplog.at_level(logging.WARNING):
            (found,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert "6 records have no predictions" in caplog.text
        assert (found.has_predictions, found.these_models.has_interval, found.better) == (False, False, "b")
        # Of three seeds each: 2.776 standard errors, with 4 degrees of freedom.
        assert found.difference.high - found.difference.value == pytest.approx(2.776 * 0.005 * (2 / 3) ** 0.5, rel=1e-3)

    def test_lower_is_better_for_error_rates(self, write_cell: Any, tmp_path: Path) -> None:
        for model, errors in (("a", 2), ("b", 1)):
            write_cell(model, right(0))
            path = tmp_path / "run" / "cells" / model / "ks-seed0"
            record = json.loads(path.with_suffix(".json").read_text())
            record["cell"]["task"] = "asr"
            record["scores"]["test"] = {"wer": errors / 10, "cer": errors / 10}
            rows = [json.loads(line) for line in path.with_suffix(".predictions.jsonl").read_text().splitlines()]
            for row in rows:
                row["counts"] = {"wer": [errors, 10], "cer": [errors, 10]}
            path.with_suffix(".json").unlink()
            RecordStore(tmp_path / "run").write(Record.model_validate(record), rows)
        found = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert [(one.metric, one.better) for one in found] == [("wer", "b"), ("cer", "b")]

    def test_speakers_are_resampled_where_there_are_some(self, write_cell: Any, tmp_path: Path) -> None:
        """All gains are one speaker's: a chance among ten, whatever the number of clips."""
        write_cell("a", right(100), clips_per_speaker=20)
        write_cell("b", right(120), clips_per_speaker=20)
        rows = find_rows(["a", "b"], tmp_path / "run", tmp_path)
        (by_utterance,), (by_speaker,) = compare(rows, "test"), compare(rows, "test", by="speaker")
        assert (by_utterance.num_units, by_utterance.better) == (200, "b")
        assert (by_speaker.num_units, by_speaker.unit, by_speaker.better) == (10, "speaker", None)
        assert by_speaker.difference.has_interval
        with pytest.raises(UserError, match="no column room"):
            compare(rows, "test", by="room")

    def test_too_few_speakers_give_no_interval(
        self, write_cell: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With two speakers, 10,000 resamples are of three kinds: their quantiles say nothing."""
        write_cell("a", right(100), clips_per_speaker=100)
        write_cell("b", right(150), clips_per_speaker=100)
        arguments = ["compare", "a", "b", "--run", str(tmp_path / "run"), "--by", "speaker"]
        assert application()([*arguments, "--json"], standalone_mode=False) == 0
        (line,) = json.loads(capsys.readouterr().out)
        assert line["difference"] == pytest.approx(0.25)
        assert (line["num_resampled"], line["too_few"], line["is_real"], line["better"]) == (2, True, False, None)
        assert (line["interval"], line["p_value"], line["p_holm"]) == (None, None, None)
        assert application()(arguments, standalone_mode=False) == 0
        shown = capsys.readouterr().out
        assert "too few speakers: 2" in shown
        assert "+25.00" in shown
        assert " to " not in shown

    def test_lines_without_an_interval_do_not_count_in_holms_correction(self) -> None:
        assert holm([0.01, nan, 0.04])[0::2] == holm([0.01, 0.04])
        assert isnan(holm([0.01, nan])[1])

    def test_the_seeds_that_both_have(self, write_cell: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_cell("a", right(100), seed=0)
        write_cell("a", right(0), seed=1)
        write_cell("b", right(100), seed=0)
        with caplog.at_level(logging.WARNING):
            (found,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert found.difference.value == 0
        assert caplog.messages == ["ks: only the seeds that all have are compared (a: 0 1, b: 0)"]

    def test_rows_of_two_runs(self, write_cell: Any, tmp_path: Path) -> None:
        write_cell("a", right(100))
        write_cell("a", right(120), run="other")
        rows = find_rows([str(tmp_path / run / "cells" / "a") for run in ("run", "other")], None, tmp_path)
        (found,) = compare(rows, "test")
        assert (found.first, found.other) == ("run/a", "other/a")
        assert found.difference.value == pytest.approx(0.1)


class TestRefused:
    @pytest.mark.parametrize(
        ("difference", "told"),
        [
            ({"data": "mini-2"}, "data is mini-1 for the one and mini-2"),
            ({"protocol": "s3prl"}, "protocol is cached"),
            ({"preset": "smoke"}, "preset is mini"),
            ({"audio_sha256": "b" * 64}, r"audio \(hash\) is aaaaaaaa for the one and bbbbbbbb"),
            ({"steps": 20}, "tasks.ks.total_steps is 10 for the one and 20"),
        ],
    )
    def test_other_conditions(self, difference: dict[str, Any], told: str, write_cell: Any, tmp_path: Path) -> None:
        conditions = {"audio_sha256": "a" * 64}
        write_cell("a", right(100), **conditions)
        write_cell("b", right(100), run="other", **(conditions | difference))
        rows = find_rows([str(tmp_path / "run/cells/a"), str(tmp_path / "other/cells/b")], None, tmp_path)
        with pytest.raises(UserError, match=told):
            compare(rows, "test")

    def test_other_utterances(self, write_cell: Any, tmp_path: Path) -> None:
        write_cell("a", right(100))
        write_cell("b", right(100)[:-1])
        with pytest.raises(UserError, match=r"clip199 is only in one of them \(1 such\)"):
            compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")

    def test_no_common_seed(self, write_cell: Any, tmp_path: Path) -> None:
        write_cell("a", right(100), seed=0)
        write_cell("b", right(100), seed=1)
        with pytest.raises(UserError, match=r"no seed of ks in common \(a: 0, b: 1\)"):
            compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")

    def test_predictions_of_an_earlier_version(self, write_cell: Any, tmp_path: Path) -> None:
        write_cell("a", right(1))
        write_cell("b", right(1))
        path = tmp_path / "run/cells/b/ks-seed0.predictions.jsonl"
        path.write_text(path.read_text().replace('"counts"', '"other"'))
        with pytest.raises(UserError, match=r"Expected counts .*Delete .*ks-seed0\.json"):
            compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        path.unlink()
        with pytest.raises(UserError, match="Expected the predictions of b ks seed 0"):
            compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")

    def test_unknown_rows(self, write_cell: Any, tmp_path: Path) -> None:
        write_cell("dphubert", right(1))
        with pytest.raises(UserError, match="Did you mean 'dphubert'"):
            find_rows(["dphuber", "dphubert"], tmp_path / "run", tmp_path)
        with pytest.raises(UserError, match="Found one"):
            find_rows(["dphubert"], tmp_path / "run", tmp_path)
        with pytest.raises(UserError, match="Found one twice"):
            find_rows(["dphubert", "dphubert"], tmp_path / "run", tmp_path)
        with pytest.raises(UserError, match="Expected runs in"):
            newest_run(tmp_path / "nowhere")


def test_the_command_takes_the_newest_run(write_cell: Any, tmp_path: Path) -> None:
    write_cell("a", right(100), run="results/runs/new")
    write_cell("b", right(140), run="results/runs/new")
    (tmp_path / "results/runs/new/leaderboard.csv").write_text("")
    result = bench("compare", "a", "b", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (line,) = json.loads(result.stdout)
    assert line["difference"] == pytest.approx(0.2)
    assert line["interval"][0] > 0.14
    assert (line["better"], line["is_real"], line["a_std"]) == ("b", True, None)
    table = bench("compare", "a", "b", cwd=tmp_path).stdout
    assert "+20.00" in table
    assert "b 70.00" in table


class TestNoRatioOfCounts:
    """An equal error rate is no sum over trials."""

    @pytest.fixture
    def write(self, tmp_path: Path) -> Callable[..., None]:
        def write(model: str, rate: float, seed: int = 0) -> None:
            folder = tmp_path / "run"
            folder.mkdir(exist_ok=True)
            (folder / "config.yaml").write_text(yaml.safe_dump({**OTHER_KEYS, "tasks": {"asv": {"total_steps": 1}}}))
            rows = [
                {"id": f"a b{index}", "split": "test", "reference": "same", "prediction": 0.5, "correct": True}
                for index in range(50)
            ]
            RecordStore(folder).write(
                Record(
                    cell=Cell(model=model, task="asv", seed=seed),
                    card=CARD,
                    scores={"test": {"eer": rate}, "dev": {"eer": rate}},
                    settings={},
                    provenance={},
                    preset="mini",
                    data="mini-1",
                    protocol="cached",
                ),
                rows,
            )

        return write

    def test_seeds_alone_are_compared(self, write: Callable[..., None], tmp_path: Path) -> None:
        for seed in range(3):
            write("a", 0.20 + 0.001 * seed, seed)
            write("b", 0.10 + 0.002 * seed, seed)
        (found,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert (found.unit, found.num_units, found.better) == ("seed", 3, "b")
        assert not found.these_models.has_interval

    def test_one_seed_gives_no_interval_but_a_line(
        self, write: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write("a", 0.2)
        write("b", 0.1)
        (found,) = compare(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test")
        assert found.difference.value == pytest.approx(-0.1)
        assert not found.difference.has_interval
        assert found.better is None
        assert application()(["compare", "a", "b", "--run", str(tmp_path / "run")], standalone_mode=False) == 0
        assert [line for line in capsys.readouterr().out.splitlines() if "asv eer" in line and "resampled" in line]

    def test_groups_of_utterances_have_no_part_of_it(
        self, write: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write("a", 0.2)
        write("b", 0.1)
        assert find_changes(find_rows(["a", "b"], tmp_path / "run", tmp_path), "test") == []
        assert "eer" in caplog.text
