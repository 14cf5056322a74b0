"""The requirements on every task, one test per property."""

from __future__ import annotations

import inspect
import json
import math
import random
import shutil
import unittest
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
import torch
from pydantic import ValidationError

from bench.audio.files import find_audio
from bench.config.data import absolute, task_entry
from bench.contracts import FingerprintsData, MeasuresData, Metric, Settings, Task
from bench.contracts.names import plain_name
from bench.errors import UserError
from bench.store.records import Prediction, ReportedSettings
from bench.testing.checks import is_refused, observed, undocumented_fields
from bench.testing.operations import stop_after
from bench.testing.plugin_conformance import PluginConformance
from bench.testing.task_trial import TaskTrial, whole_evaluation
from bench.testing.trial import kept_folder

INTERRUPTION = 0.6
"""A process is stopped after this share of the whole work."""

MOST_TO_RESUME = 0.8
"""Largest share of the whole work that may be done after that."""

MOST_WHEN_FINISHED = 0.5
"""Largest share of the whole work that a call may do if everything is already done."""

SCORED = ("dev", "test")
"""Splits that every task scores."""

COUNTS_TOLERANCE = 1e-9
"""Largest difference between a score and the ratio of its counts."""


class TaskConformance(PluginConformance):
    """Tests of a task on tiny upstreams and data of its author; subclass it in a module that pytest collects.

        class TestAccent(TaskConformance):
            task = Accent
            entry = {"table": "accents.csv"}

    Every test runs the ``smoke`` preset, changed by `settings`.
    """

    group = "bench.tasks"
    task: ClassVar[type[Task]]
    """The `bench.contracts.Task` under test. It must be importable from its module by its own name."""
    entry: ClassVar[Mapping[str, Any]] = {}
    """The entry of a data YAML. Paths are relative to the test module. Alternatively, override `write_data`."""
    upstreams: ClassVar[tuple[str, ...]] = ("hubert", "wavlm-large", "fbank")
    """Tiny upstreams, of `bench.testing.TEACHER_SHAPES` or ``fbank``; most tests use the first."""
    resumes: ClassVar[bool] = True
    """False for a task that takes only seconds, and so stores nothing in its ``workdir``."""

    @classmethod
    def write_data(cls, folder: Path) -> Mapping[str, Any]:
        """Write a tiny corpus to a folder, and return its entry of a data YAML, with paths relative to the folder."""
        raise NotImplementedError(f"Give {cls.__name__} an entry, or define write_data.")

    @property
    def plugin(self) -> type[Task]:
        """The class under test."""
        return self.task

    def test_metrics_are_declared(self) -> None:
        """Each is a column of the leaderboard, and a direction says which model is better."""
        metrics = self.task.metrics
        assert metrics, f"Expected at least one metric of {self.task.name}. Found none."
        for metric in metrics:
            assert isinstance(metric, Metric), f"Expected a bench.contracts.Metric. Found {metric!r}."
            try:
                plain_name(metric.name)
            except ValueError as error:
                raise AssertionError(f"The metric {metric.name!r} has {error}.") from error
            is_bool = isinstance(metric.higher_is_better, bool)
            assert is_bool, f"Expected true or false as higher_is_better of {metric.name}."
        names = [metric.name for metric in metrics]
        assert len(names) == len(set(names)), f"Expected metrics of different names. Found {', '.join(names)}."

    def test_has_a_primary_metric(self) -> None:
        """Tables and plots show primary metrics alone."""
        primary = [metric.name for metric in self.task.metrics if metric.primary]
        assert primary, "Expected a metric with primary=True. Found none, so that no table would show the task."

    def test_layouts_are_declared(self) -> None:
        """The entry of a data YAML names one of them."""
        assert self.task.layouts, "Expected at least one layout. Found none."
        for name, kind in self.task.layouts.items():
            assert issubclass(kind, Settings), f"Expected a subclass of Settings as layout {name!r}. Found {kind}."
            field = kind.model_fields.get("layout")
            assert field is not None and field.default == name, (
                f"Expected a field `layout: Literal[{name!r}] = {name!r}` in {kind.__name__}."
            )
            try:
                kind.model_validate({"layout": "no such layout"})
            except ValidationError as error:
                refused = [problem["loc"] for problem in error.errors()]
            else:
                refused = []
            assert ("layout",) in refused, f"{kind.__name__} takes any layout. Declare it as Literal[{name!r}]."

    def test_layouts_are_documented(self) -> None:
        """Docstrings of their fields are the help on data files."""
        missing = [field for kind in self.task.layouts.values() for field in undocumented_fields(kind)]
        assert not missing, f"Expected a docstring below every field. Found none below {', '.join(missing)}."

    def test_entry_refuses_unknown_keys(self) -> None:
        """A misspelt key of a data YAML must not be ignored."""
        values = {**_corpus(type(self)).entry, "no_such_key": 1}
        refused = is_refused(lambda: task_entry(self.task, values, "the entry"))
        assert refused, "The entry takes the key no_such_key. Leave extra='forbid' of its layout as it is."

    def test_check_gives_sizes(self) -> None:
        """``bench data check`` shows them, and a run estimates its disk space from them."""
        sizes = self._trial().check()
        assert sizes, "Expected check() to return the size of every split. Found none."
        for split, size in sizes.items():
            is_plausible = size.num_utterances >= 1 and math.isfinite(size.duration_s) and size.duration_s > 0
            assert is_plausible, f"Expected utterances and a duration in {split}. Found {size}."

    def test_sizes_are_those_of_check(self) -> None:
        """A dry run shows what a run will find, through `bench.contracts.MeasuresData`."""
        trial = self._trial()
        task = trial.instance()
        if not isinstance(task, MeasuresData):
            raise unittest.SkipTest("no method sizes()")
        found, expected = dict(task.sizes(trial.data())), dict(trial.check())
        assert found == expected, f"sizes() returns {found}, and check() returns {expected}. Expected the same."

    def test_check_refuses_missing_data(self) -> None:
        """Every path of the entry must exist."""
        data = self._trial().data()
        for field in type(data).model_fields:
            path = getattr(data, field)
            if not isinstance(path, Path):
                continue
            elsewhere = data.model_copy(update={field: path.parent / "nowhere" / path.name})
            self._must_refuse(elsewhere, f"{field} is {elsewhere!r}, where nothing is")

    def test_check_refuses_unusable_audio(self, tmp_path: Path) -> None:
        """Audio that is missing, of another rate, or no audio, must be found before anything runs."""
        spoilt: dict[str, Callable[[Path], object]] = {
            "missing audio": Path.unlink,
            "audio of 8 kHz": lambda path: soundfile.write(path, np.zeros(8_000), 8_000),
            "files that are no audio": lambda path: path.write_bytes(b"RIFF"),
        }
        for what, spoil in spoilt.items():
            data = self._copied_data(tmp_path / what)
            found = find_audio(tmp_path / what)
            if not found:
                raise unittest.SkipTest("write_data writes no audio files")
            for path in found:
                spoil(path)
            self._must_refuse(data, f"the corpus has {what}")

    def test_hash_of_the_data_ignores_their_place(self, tmp_path: Path) -> None:
        """Results on a moved corpus stay comparable, through `bench.contracts.FingerprintsData`."""
        if not isinstance(self._trial().instance(), FingerprintsData):
            raise unittest.SkipTest("no method fingerprint()")
        here = self._trial().fingerprint(self._data())
        assert self._trial().fingerprint(self._data()) == here, "fingerprint() changes from call to call."
        moved = self._trial().fingerprint(self._copied_data(tmp_path / "elsewhere"))
        assert moved == here, "fingerprint() changes when the corpus is moved. Hash paths relative to it."

    def test_scores_every_metric_of_dev_and_test(self) -> None:
        """Scores are fractions in full precision."""
        for kind in self.upstreams:
            scores = whole_evaluation(self._trial(upstream=kind)).evaluation.scores
            for split in SCORED:
                assert split in scores, f"Expected scores of {split}. Found {[*scores]}."
            for split, values in scores.items():
                names = {metric.name for metric in self.task.metrics}
                assert set(values) == names, f"Expected {names} of {split}. Found {[*values]}."
                for metric in self.task.metrics:
                    score = values[metric.name]
                    is_fraction = 0 <= score <= (1 if metric.higher_is_better else math.inf)
                    assert is_fraction and math.isfinite(score), (
                        f"Expected a fraction as {metric.name} of {kind} on {split}. Found {score}. "
                        "A percentage must be divided by 100."
                    )

    def test_predictions_reproduce_the_scores(self) -> None:
        """`bench compare` resamples the counts of the utterances."""
        evaluation = whole_evaluation(self._trial()).evaluation
        for split, values in evaluation.scores.items():
            rows = [row for row in evaluation.predictions if row["split"] == split]
            assert rows, f"Expected predictions of {split}. Found none."
            for name in sorted(set(values) & self._counted_metrics()):
                score = values[name]
                without = [row["id"] for row in rows if name not in row.get("counts", {})]
                assert not without, f"Expected counts of {name} in every prediction. Found none for {without[0]}."
                numerator, denominator = (sum(row["counts"][name][part] for row in rows) for part in (0, 1))
                assert denominator > 0, f"Expected counts of {name} on {split} with a positive denominator."
                ratio = numerator / denominator
                assert abs(ratio - score) <= COUNTS_TOLERANCE, (
                    f"The counts of {name} on {split} give {ratio}, but its score is {score}. Expected the sum of the "
                    "numerators divided by the sum of the denominators."
                )

    def test_results_can_be_stored(self) -> None:
        """A run writes predictions and settings as JSON."""
        evaluation = whole_evaluation(self._trial()).evaluation
        for row in evaluation.predictions:
            again = json.loads(json.dumps(row, allow_nan=False))
            counts = Prediction.model_validate(again).counts
            assert counts or not self._counted_metrics(), f"Expected counts in the prediction {row}."
        settings = json.loads(json.dumps(dict(evaluation.settings)))
        ReportedSettings.model_validate(settings)

    def test_predicts_each_utterance_once(self) -> None:
        """Comparisons pair the utterances of two models by split and id."""
        outcome, sizes = whole_evaluation(self._trial()), self._trial().check()
        for split in outcome.evaluation.scores:
            rows = [row for row in outcome.evaluation.predictions if row["split"] == split]
            keys = {(row["id"], row.get("fold")) for row in rows}
            assert len(keys) == len(rows), f"Expected one prediction per utterance of {split}. Found repeated ids."
            # Without counts, a row may be a trial of two utterances.
            is_known = split in sizes and self._counted_metrics()
            most = sizes[split].num_utterances if is_known else len(rows)
            assert len(rows) <= most, f"Expected at most {most} predictions of {split}, its size. Found {len(rows)}."

    def test_leaves_the_upstream_alone(self, tmp_path: Path) -> None:
        """All tasks and seeds of a run use the same object."""
        upstream = self._trial().make_upstream()
        before = observed(upstream)
        self._trial().run(tmp_path / "work", upstream)
        for what, value in observed(upstream).items():
            assert value == before[what], f"evaluate() changes the upstream: its {what}. Leave it frozen, in eval()."

    def test_same_seed_same_results(self, tmp_path: Path) -> None:
        """Scores do not depend on earlier draws from the process's global generators."""
        expected = whole_evaluation(self._trial())
        for draw in (torch.rand, np.random.rand, lambda _: random.random()):
            draw(1)
        again = self._trial().measured(tmp_path / "work")
        assert again.results() == expected.results(), (
            "Two evaluations with the same seed differ. Take all that is random from context.seed."
        )

    def test_goes_on_after_an_interruption(self, tmp_path: Path) -> None:
        """A process ends as in a power cut and another one finishes: the results equal those of a single process."""
        expected, trial, workdir = whole_evaluation(self._trial()), self._trial(), tmp_path / "work"
        stop_after(int(INTERRUPTION * expected.num_operations), partial(trial.run, workdir))
        resumed = trial.measured(workdir)
        assert resumed.results() == expected.results(), (
            "Interrupted and called again with the same workdir, evaluate() gives other results than in one go. Keep "
            "all that the rest depends on in the checkpoint: weights, optimiser, and the place in the data."
        )
        share = resumed.num_operations / expected.num_operations
        assert not self.resumes or share <= MOST_TO_RESUME, (
            f"Interrupted at {INTERRUPTION:.0%} of the work and called again with the same workdir, evaluate() does "
            f"{share:.0%} of it. Expected at most {MOST_TO_RESUME:.0%}. Keep checkpoints in workdir. If it does, "
            "set `settings` so that they come more often."
        )

    def test_answers_a_finished_call_at_once(self) -> None:
        """A run may be stopped after the evaluation, before its record is written."""
        if not self.resumes:
            raise unittest.SkipTest("keeps nothing in its workdir")
        expected = whole_evaluation(self._trial())
        again = self._trial().measured(expected.workdir)
        assert again.results() == expected.results(), "Called again when all is done, evaluate() gives other results."
        share = again.num_operations / expected.num_operations
        assert share <= MOST_WHEN_FINISHED, (
            f"Called again when all is done, evaluate() does {share:.0%} of the whole work again. Expected at most "
            f"{MOST_WHEN_FINISHED:.0%}. Keep the result in workdir too."
        )

    def test_never_uses_the_workdir_of_other_work(self, tmp_path: Path) -> None:
        """It refuses the folder, or starts over: a mixture of two models would be recorded as one."""
        trial = self._trial()
        for what, other in {"seed": replace(trial, seed=1), "upstream": replace(trial, upstream_seed=1)}.items():
            workdir = tmp_path / what
            shutil.copytree(whole_evaluation(trial).workdir, workdir)
            try:
                found = other.measured(workdir)
            except UserError:
                continue
            assert found.results() == whole_evaluation(other).results(), (
                f"On the workdir of another {what}, evaluate() gives other results than in a new one. "
                "Keep in workdir what the work depends on, and compare."
            )

    def _counted_metrics(self) -> set[str]:
        return {metric.name for metric in self.task.metrics if metric.is_ratio_of_counts}

    def _must_refuse(self, data: Settings, why: str) -> None:
        refused = is_refused(lambda: self._trial().check(data))
        assert refused, f"Expected check() to raise bench.errors.UserError, because {why}. Found no error."

    def _trial(self, upstream: str | None = None) -> TaskTrial:
        configuration, data = self._configuration(), self._data()
        return TaskTrial(
            self.task,
            configuration.model_dump_json(),
            type(data),
            data.model_dump_json(),
            upstream or self.upstreams[0],
        )

    def _data(self, folder: Path | None = None) -> Settings:
        """Return the entry, by default with the paths of the original corpus."""
        corpus = _corpus(type(self))
        return absolute(task_entry(self.task, corpus.entry, "the entry"), folder or corpus.folder)

    def _copied_data(self, folder: Path) -> Settings:
        """Return the entry of a copy of the corpus that `write_data` wrote."""
        if self.entry:
            raise unittest.SkipTest("the corpus was not made by write_data")
        shutil.copytree(_corpus(type(self)).folder, folder)
        return self._data(folder)


@dataclass(frozen=True)
class _Corpus:
    entry: Mapping[str, Any]
    folder: Path
    """Paths of the entry are relative to it."""


@cache
def _corpus(test: type[TaskConformance]) -> _Corpus:
    if test.entry:
        return _Corpus(test.entry, Path(inspect.getfile(test)).parent)
    folder = kept_folder()
    return _Corpus(test.write_data(folder), folder)
