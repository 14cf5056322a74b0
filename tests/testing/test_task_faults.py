"""The conformance test of tasks finds what is wrong with one, and says so."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import uuid4

import pytest
import torch
from pydantic import ConfigDict

from bench.contracts import Context, Evaluation, Metric, Settings, SplitSize, Upstream
from bench.errors import UserError
from bench.testing import TaskConformance, write_speech
from tests.plugin_package.accent_task import Accent, AccentConfig, AccentData

SPLITS = ("train", "train", "dev", "test")


def conformance(faulty: type[Any]) -> TaskConformance:
    class Conformance(TaskConformance):
        task = faulty
        settings = ("steps=3",)
        upstreams = ("hubert",)

        @classmethod
        def write_data(cls, folder: Path) -> Mapping[str, Any]:
            write_speech(folder, len(SPLITS))
            rows = [f"speech-{i}.wav,{split},{'north' if i % 2 else 'south'}" for i, split in enumerate(SPLITS)]
            (folder / "accents.csv").write_text("\n".join(["path,split,accent", *rows]))
            return {"table": "accents.csv"}

    return Conformance()


def with_metrics(*declared: Metric) -> type[Accent]:
    class Changed(Accent):
        metrics = declared  # type: ignore[assignment]

    return Changed


def with_layouts(**declared: type[Settings]) -> type[Accent]:
    class Changed(Accent):
        layouts: ClassVar[Mapping[str, type[Settings]]] = declared

    return Changed


def with_result(change: Callable[[Evaluation], Evaluation]) -> type[Accent]:
    class Changed(Accent):
        def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
            return change(super().evaluate(upstream, data, workdir, context))

    return Changed


def with_scores(change: Callable[[dict[str, float]], dict[str, float]]) -> type[Accent]:
    return with_result(
        lambda evaluation: replace(
            evaluation, scores={split: change(dict(values)) for split, values in evaluation.scores.items()}
        )
    )


def with_predictions(change: Callable[[dict[str, Any]], dict[str, Any]]) -> type[Accent]:
    return with_result(
        lambda evaluation: replace(evaluation, predictions=[change(dict(row)) for row in evaluation.predictions])
    )


def with_check(change: Callable[[dict[str, SplitSize]], dict[str, SplitSize]]) -> type[Accent]:
    class Changed(Accent):
        def check(self, data: AccentData) -> dict[str, SplitSize]:
            return change(super().check(data))

    return Changed


def touching(change: Callable[[Any], object]) -> type[Accent]:
    class Changed(Accent):
        def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
            evaluation = super().evaluate(upstream, data, workdir, context)
            change(upstream)
            return evaluation

    return Changed


class AnyLayout(AccentData):
    layout: str = "any"  # type: ignore[assignment]


class MisnamedLayout(AccentData):
    layout: Literal["elsewhere"] = "elsewhere"  # type: ignore[assignment]


class UndocumentedLayout(AccentData):
    encoding: str = "utf-8"


class LenientLayout(AccentData):
    model_config = ConfigDict(extra="ignore")


class UndocumentedConfig(AccentConfig):
    depth: int = 3


class HasNoHelp(Accent):
    config_type = UndocumentedConfig


class HasTwoPresets(Accent):
    presets: ClassVar[Mapping[str, Settings]] = {name: AccentConfig(steps=1) for name in ("paper", "smoke")}


class ChecksNothing(Accent):
    def check(self, data: AccentData) -> dict[str, SplitSize]:
        return {split: SplitSize(1, 1.0) for split in ("train", "dev", "test")}


class ChecksTheTableOnly(Accent):
    def check(self, data: AccentData) -> dict[str, SplitSize]:
        if not data.table.exists():
            raise UserError(f"Expected a table. Found none at {data.table}.")
        return {split: SplitSize(1, 1.0) for split in ("train", "dev", "test")}


class FailsWithATraceback(Accent):
    def check(self, data: AccentData) -> dict[str, SplitSize]:
        data.table.read_bytes()
        return super().check(data)


class ComplainsAtLength(Accent):
    def check(self, data: AccentData) -> dict[str, SplitSize]:
        try:
            return super().check(data)
        except UserError as error:
            raise UserError(f"{error}\nAnd so on.") from error


class HashesThePlace(Accent):
    def fingerprint(self, data: AccentData) -> str:
        return str(data.table)


class HashesAtRandom(Accent):
    def fingerprint(self, data: AccentData) -> str:
        return uuid4().hex


class MeasuresOtherwise(Accent):
    def sizes(self, data: AccentData) -> dict[str, SplitSize]:
        return {**self.check(data), "dev": SplitSize(7, 1.0)}


class IgnoresTheSeed(Accent):
    def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
        drawn = replace(context, seed=random.SystemRandom().randrange(2**32))
        return with_a_guess(super().evaluate(upstream, data, workdir, drawn), drawn.seed)


class DrawsFromTheProcess(Accent):
    def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
        return with_a_guess(super().evaluate(upstream, data, workdir, context), int(torch.randint(2**31, ())))


def with_a_guess(evaluation: Evaluation, guess: int) -> Evaluation:
    return replace(evaluation, predictions=[{**row, "prediction": guess} for row in evaluation.predictions])


class IgnoresTheWorkdir(Accent):
    def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
        return super().evaluate(upstream, data, workdir / uuid4().hex, context)


class CountsItsCalls(Accent):
    def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
        evaluation = super().evaluate(upstream, data, workdir, context)
        calls = len(list(workdir.glob("call-*")))
        (workdir / f"call-{calls}").touch()
        return with_a_guess(evaluation, calls)


class TakesOverAnyWork(Accent):
    def evaluate(self, upstream: Upstream, data: AccentData, workdir: Path, context: Context) -> Evaluation:
        own = workdir / "seed"
        if not own.exists():
            own.write_text(str(context.seed))
        seed = int(own.read_text())
        return with_a_guess(super().evaluate(upstream, data, workdir / str(context.seed), context), seed)


class TestDescription:
    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            ((), "at least one metric"),
            ((Metric("a/b", higher_is_better=True),), r"'a/b'"),
            ((Metric("wer", higher_is_better=False), Metric("wer", higher_is_better=True)), "different names"),
            ((Metric("wer", higher_is_better="no"),), "higher_is_better of wer"),  # type: ignore[arg-type]
            (("wer",), r"bench\.contracts\.Metric"),
        ],
        ids=["none", "name", "twice", "direction", "type"],
    )
    def test_of_metrics(self, metrics: tuple[Metric, ...], message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(with_metrics(*metrics)).test_metrics_are_declared()

    def test_without_a_primary_metric(self) -> None:
        with pytest.raises(AssertionError, match="primary=True"):
            conformance(with_metrics(Metric("wer", higher_is_better=False))).test_has_a_primary_metric()

    def test_of_no_entry_point(self) -> None:
        with pytest.raises(AssertionError, match=r"'accent' in the group bench\.tasks"):
            conformance(Accent).test_is_found_by_its_name()

    def test_of_settings_without_docstrings(self) -> None:
        with pytest.raises(AssertionError, match=r"UndocumentedConfig\.depth"):
            conformance(HasNoHelp).test_settings_are_documented()

    def test_of_presets(self) -> None:
        with pytest.raises(AssertionError, match="'mini'"):
            conformance(HasTwoPresets).test_presets_are_complete()

    @pytest.mark.parametrize(
        ("layouts", "message"),
        [
            ({}, "at least one layout"),
            ({"table": MisnamedLayout}, "MisnamedLayout"),
            ({"any": AnyLayout}, "AnyLayout takes any layout"),
        ],
        ids=["none", "misnamed", "any"],
    )
    def test_of_layouts(self, layouts: dict[str, type[Settings]], message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(with_layouts(**layouts)).test_layouts_are_declared()

    def test_of_layouts_without_docstrings(self) -> None:
        with pytest.raises(AssertionError, match=r"UndocumentedLayout\.encoding"):
            conformance(with_layouts(table=UndocumentedLayout)).test_layouts_are_documented()

    def test_of_layouts_that_take_anything(self) -> None:
        with pytest.raises(AssertionError, match="no_such_key"):
            conformance(with_layouts(table=LenientLayout)).test_entry_refuses_unknown_keys()


class TestCheck:
    def test_that_refuses_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=r"table is .*nowhere"):
            conformance(ChecksNothing).test_check_refuses_missing_data()

    def test_that_never_reads_the_audio(self, tmp_path: Path) -> None:
        conformance(ChecksTheTableOnly).test_check_refuses_missing_data()
        with pytest.raises(AssertionError, match="missing audio"):
            conformance(ChecksTheTableOnly).test_check_refuses_unusable_audio(tmp_path)

    def test_that_fails_with_another_error(self) -> None:
        with pytest.raises(FileNotFoundError):
            conformance(FailsWithATraceback).test_check_refuses_missing_data()

    def test_with_long_messages(self) -> None:
        with pytest.raises(AssertionError, match="error of one line"):
            conformance(ComplainsAtLength).test_check_refuses_missing_data()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda sizes: {}, "size of every split"),
            (lambda sizes: {**sizes, "dev": SplitSize(0, 1.0)}, "in dev"),
            (lambda sizes: {**sizes, "dev": SplitSize(1, float("nan"))}, "in dev"),
        ],
        ids=["none", "empty", "nan"],
    )
    def test_of_sizes(self, change: Any, message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(with_check(change)).test_check_gives_sizes()

    def test_of_sizes_that_a_dry_run_shows(self) -> None:
        with pytest.raises(AssertionError, match="num_utterances=7"):
            conformance(MeasuresOtherwise).test_sizes_are_those_of_check()

    @pytest.mark.parametrize(("faulty", "message"), [(HashesThePlace, "moved"), (HashesAtRandom, "call to call")])
    def test_of_the_hash(self, faulty: type[Accent], message: str, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(faulty).test_hash_of_the_data_ignores_their_place(tmp_path)


class TestScores:
    @pytest.mark.parametrize(
        ("faulty", "message"),
        [
            (with_result(lambda found: replace(found, scores={"test": found.scores["test"]})), "scores of dev"),
            (with_scores(lambda scores: {}), "accuracy"),
            (with_scores(lambda scores: {**scores, "f1": 0.5}), "f1"),
            (with_scores(lambda scores: {"accuracy": 50.0}), "divided by 100"),
            (with_scores(lambda scores: {"accuracy": float("nan")}), "nan"),
        ],
        ids=["split", "metric", "undeclared", "percent", "nan"],
    )
    def test_that_are_none(self, faulty: type[Accent], message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(faulty).test_scores_every_metric_of_dev_and_test()

    @pytest.mark.parametrize(
        ("faulty", "message"),
        [
            (with_scores(lambda scores: {"accuracy": scores["accuracy"] / 2 + 0.1}), "but its score is"),
            (with_predictions(lambda row: {**row, "counts": {}}), "counts of accuracy in every prediction"),
            (with_predictions(lambda row: {**row, "counts": {"accuracy": [0, 0]}}), "positive denominator"),
            (with_result(lambda found: replace(found, predictions=[])), "predictions of"),
        ],
        ids=["other", "none", "zero", "no predictions"],
    )
    def test_off_the_counts(self, faulty: type[Accent], message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(faulty).test_predictions_reproduce_the_scores()

    def test_of_predictions_that_are_no_plain_values(self) -> None:
        with pytest.raises(TypeError, match="JSON serializable"):
            conformance(
                with_predictions(lambda row: {**row, "prediction": torch.zeros(1)})
            ).test_results_can_be_stored()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda found: replace(found, predictions=[*found.predictions] * 2), "repeated ids"),
            (
                lambda found: replace(
                    found, predictions=[*found.predictions, *({**row, "id": "more"} for row in found.predictions)]
                ),
                "at most 1 predictions of dev",
            ),
        ],
        ids=["twice", "more"],
    )
    def test_of_other_utterances(self, change: Any, message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(with_result(change)).test_predicts_each_utterance_once()

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda upstream: upstream.layer_norm.bias.data.add_(1), "weights"),
            (lambda upstream: upstream.train(), "training mode"),
            (lambda upstream: upstream.requires_grad_(False), "requires_grad"),
        ],
        ids=["weights", "mode", "requires_grad"],
    )
    def test_of_another_upstream_than_before(self, change: Any, what: str, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=f"changes the upstream: its {what}"):
            conformance(touching(change)).test_leaves_the_upstream_alone(tmp_path)

    @pytest.mark.parametrize("faulty", [IgnoresTheSeed, DrawsFromTheProcess])
    def test_by_chance(self, faulty: type[Accent], tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=r"context\.seed"):
            conformance(faulty).test_same_seed_same_results(tmp_path)


class TestResuming:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("faulty", "message"), [(IgnoresTheWorkdir, "does 100% of it"), (DrawsFromTheProcess, "gives other results")]
    )
    def test_that_fails(self, faulty: type[Accent], message: str, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(faulty).test_goes_on_after_an_interruption(tmp_path)

    @pytest.mark.parametrize(
        ("faulty", "message"), [(IgnoresTheWorkdir, "does 100%"), (CountsItsCalls, "gives other results")]
    )
    def test_of_finished_work(self, faulty: type[Accent], message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            conformance(faulty).test_answers_a_finished_call_at_once()

    def test_that_takes_over_other_work(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="another seed"):
            conformance(TakesOverAnyWork).test_never_uses_the_workdir_of_other_work(tmp_path)


class TestNoFault:
    def test_is_found_in_a_good_task(self, tmp_path: Path) -> None:
        test = conformance(Accent)
        test.test_metrics_are_declared()
        test.test_has_a_primary_metric()
        test.test_layouts_are_declared()
        test.test_layouts_are_documented()
        test.test_entry_refuses_unknown_keys()
        test.test_settings_are_documented()
        test.test_presets_are_complete()
        test.test_check_gives_sizes()
        test.test_check_refuses_missing_data()
        test.test_check_refuses_unusable_audio(tmp_path / "audio")
        test.test_scores_every_metric_of_dev_and_test()
        test.test_predictions_reproduce_the_scores()
        test.test_results_can_be_stored()
        test.test_predicts_each_utterance_once()
        test.test_leaves_the_upstream_alone(tmp_path / "upstream")
        test.test_same_seed_same_results(tmp_path / "again")
        test.test_answers_a_finished_call_at_once()
        test.test_never_uses_the_workdir_of_other_work(tmp_path / "other")
