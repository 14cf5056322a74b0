"""Timing in turn, by layer and as a whole: what must hold on any machine, however busy."""

from __future__ import annotations

import json
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import bench.profiling.latency as latency_module
from bench.cli.app import application
from bench.cli.profile_tables import print_tables
from bench.errors import UserError
from bench.profiling import sections, workloads
from bench.profiling.latency import measure
from bench.profiling.layers import ALL, layers_of
from bench.profiling.subjects import Subject, find_subjects
from bench.profiling.timing import Repeats, threads, time_in_turn
from bench.profiling.workloads import Effort, typical_lengths
from bench.store.latency import Spread
from bench.upstream import FbankUpstream
from bench.upstream.cost import SUPERB_LENGTHS, count_macs
from bench.upstream.random_shapes import SHAPES
from tests.helpers.command_line import bench_process
from tests.helpers.latency import record, timing


class Recorder(FbankUpstream):
    """Notes its calls in a diary."""

    def __init__(self, name: str, diary: list[tuple[str, int]]) -> None:
        super().__init__()
        self.name = name
        self.diary = diary

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor | None = None) -> Any:
        self.diary.append((self.name, waveforms.shape[1]))
        return super().forward(waveforms, lengths)


class TestInTurn:
    def test_models_alternate_forth_and_back_within_each_length(self) -> None:
        diary: list[tuple[str, int]] = []
        models = [Recorder(name, diary) for name in "AB"]
        batches = [torch.zeros(1, 400), torch.zeros(1, 800)]
        times = time_in_turn(models, batches, Repeats(wanted=2, limit_s=float("inf")))
        forth = [("A", 400), ("B", 400), ("A", 800), ("B", 800)]
        back = [("B", 400), ("A", 400), ("B", 800), ("A", 800)]
        assert diary == forth + forth + back  # The first is the warm-up.
        assert [own.seconds.shape for own in times] == [(2, 2), (2, 2)]
        assert all((own.seconds > 0).all() for own in times)

    @pytest.mark.parametrize(("round_s", "rounds"), [(1, 5), (4, 5), (6, 3), (21, 1), (1000, 1), (0, 5)])
    def test_repeats_are_what_the_limit_affords(self, round_s: float, rounds: int) -> None:
        assert Repeats(wanted=5, limit_s=20).affordable(round_s) == rounds

    @pytest.mark.parametrize(("round_s", "rounds"), [(1, 7), (3.5, 5), (1000, 5)])
    def test_there_are_enough_for_quartiles_however_slow_a_model_is(self, round_s: float, rounds: int) -> None:
        assert Effort().limits().affordable(round_s) == rounds

    def test_given_repeats_are_kept_whatever_they_take(self) -> None:
        assert Effort(repeats=11).limits().affordable(1e6) == 11

    def test_threads_are_put_back(self) -> None:
        before = torch.get_num_threads()
        with threads(before + 1):
            assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before

    def test_lengths_are_superb_s_nearest_to_the_mean_of_each_bucket(self) -> None:
        assert typical_lengths() == {"short": (42_560,), "medium": (71_200,), "long": (118_480,), "longer": (217_920,)}
        assert Effort(every_length=True).lengths() == SUPERB_LENGTHS


class Loader:
    """Stands in for `load_model`: filter banks, of which it counts those that are still there."""

    def __init__(self) -> None:
        self.loaded: list[weakref.ref[FbankUpstream]] = []
        self.most = 0

    def __call__(self, _: str) -> FbankUpstream:
        upstream = FbankUpstream().eval()
        self.loaded.append(weakref.ref(upstream))
        self.most = max(self.most, sum(one() is not None for one in self.loaded))
        return upstream


class TestPairs:
    @pytest.fixture
    def loader(self, monkeypatch: pytest.MonkeyPatch) -> Loader:
        loader = Loader()
        monkeypatch.setattr(latency_module, "load_model", loader)
        monkeypatch.setattr(workloads, "SUPERB_LENGTHS", {"short": (1600,)})
        monkeypatch.setattr(sections, "BATCH_SIZES", ())
        monkeypatch.setattr(sections, "num_cores", lambda: 1)
        monkeypatch.setattr(latency_module, "cpu_peak_memory_bytes", lambda *_: 1)
        return loader

    def test_no_more_than_two_models_are_loaded_and_each_is_as_thorough(self, loader: Loader) -> None:
        subjects = [Subject("t", "t", "t"), *(Subject(name, name, name, "t") for name in "abcde")]
        records = list(measure(subjects, Effort(repeats=2), use_gpu=False))
        assert [record.model for record in records] == ["t", *"abcde"]
        assert {record.cpu.rtf.repeats for record in records} == {2}
        assert [record.cpu.speedup is not None for record in records] == [False, *[True] * 5]
        assert loader.most == 2

    @pytest.mark.usefixtures("loader")
    def test_an_interrupted_command_continues_after_the_last_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        models = "{a: {reference: 'random:mini-hubert'}, fbank: {reference: fbank}}"
        (tmp_path / "config.yaml").write_text(
            f"{{teacher: 'random:mini-hubert', data: {{}}, preset: mini, tasks: {{}}, seeds: [0], models: {models}}}"
        )
        arguments = ["profile", "--run", str(tmp_path), "--latency", "--repeats", "1", "--device", "cpu", "--json"]

        def interrupted(subject: Subject, *_: object, **__: object) -> None:
            if subject.name == "fbank":
                raise KeyboardInterrupt
            raise AssertionError(f"{subject.name} is measured again")

        measured = latency_module._measured
        monkeypatch.setattr(
            latency_module,
            "_measured",
            lambda subject, *rest, **named: (measured if subject.name == "a" else interrupted)(subject, *rest, **named),
        )
        assert application()(arguments, standalone_mode=False) == 130
        assert [path.name for path in (tmp_path / "latency").iterdir()] == ["a.json"]
        monkeypatch.setattr(
            latency_module,
            "_measured",
            lambda subject, *rest, **named: (measured if subject.name == "fbank" else interrupted)(
                subject, *rest, **named
            ),
        )
        application()(arguments, standalone_mode=False)
        assert [row["model"] for row in json.loads(capsys.readouterr().out)] == ["a", "fbank"]


def test_tables_show_no_quartiles_of_few_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    few = record("few", "few", timing(0.125))
    rtf = Spread(median=0.125, low=0.12, high=0.13, repeats=5)
    many = record("many", "many", timing(0.125).model_copy(update={"rtf": rtf}))
    print_tables([], [few, many], {}, None)
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if " CPU " in line}
    assert "(" not in lines["few"]
    assert "0.125 (0.120-0.130)" in lines["many"]
    assert " 3 " in lines["few"]
    assert " 5 " in lines["many"]


class TestLayers:
    def test_layers_add_up_to_the_model(self, reference: Path) -> None:
        student = str(reference / "dphubert_small_hubert.pth")
        subjects = find_subjects(["random:mini-hubert", student], None, None)
        (found,) = layers_of(subjects, Effort(repeats=1)).values()
        assert (found.model, found.teacher) == (student, "random:mini-hubert")
        layers = {layer.layer: layer for layer in found.layers}
        teachers = {name: layer.teacher for name, layer in layers.items() if layer.teacher}
        whole = teachers.pop(ALL)
        config = SHAPES["mini-hubert"]
        assert whole.macs == sum(count_macs(config, length) for (length,) in typical_lengths().values())
        assert sum(cost.macs for cost in teachers.values()) == whole.macs
        assert sum(cost.params for cost in teachers.values()) == whole.params == 2_456_256
        assert sum(cost.ms.median for cost in teachers.values()) == pytest.approx(whole.ms.median)
        assert teachers["1 attention"].params == 4 * (128 * 128 + 128)
        assert layers["12 feed-forward"].model is None  # The student is shallower.
        assert layers["conv 2"].promised_speedup == teachers["conv 2"].macs / layers["conv 2"].model.macs
        assert list(layers)[:2] == ["conv 1", "conv 2"]

    def test_filter_banks_have_none(self) -> None:
        with pytest.raises(UserError, match="none of the models has layers"):
            layers_of(find_subjects(["fbank"], None, None), Effort())


class TestCommand:
    @pytest.mark.slow
    def test_latency_of_a_run_is_kept_and_told(self, tmp_path: Path) -> None:
        models = "{random-mini-hubert: {reference: 'random:mini-hubert'}, fbank: {reference: fbank}}"
        (tmp_path / "config.yaml").write_text(
            f"{{teacher: 'random:mini-hubert', data: {{}}, preset: mini, tasks: {{}}, seeds: [0], models: {models}}}"
        )
        measured = ["profile", "--run", str(tmp_path), "--latency"]
        result = bench_process(*measured, "--price-per-hour", "2", "--device", "cpu", "--json")
        assert result.returncode == 0, result.stderr
        teacher, fbank = json.loads(result.stdout)
        assert (teacher["model"], fbank["model"]) == ("random-mini-hubert", "fbank")
        assert "speedup" not in teacher["latency"]["cpu"]
        assert fbank["latency"]["teacher"] == "random:mini-hubert"
        own, others = (each["latency"]["cpu"]["rtf"]["median"] for each in (fbank, teacher))
        assert fbank["latency"]["cpu"]["speedup"]["median"] == pytest.approx(others / own, rel=0.5)
        assert teacher["cost_of_1000_hours"]["cpu"] > fbank["cost_of_1000_hours"]["cpu"] > 0
        if sys.platform == "linux":
            # Its weights are 10 MB; filter banks have none, and libraries count for neither.
            assert 10e6 < teacher["latency"]["cpu"]["peak_memory_bytes"] < 1e9
            assert fbank["latency"]["cpu"]["peak_memory_bytes"] < teacher["latency"]["cpu"]["peak_memory_bytes"] / 2
        kept = json.loads((tmp_path / "latency" / "fbank.json").read_text())
        assert kept["cpu"]["rtf"] == fbank["latency"]["cpu"]["rtf"]
        again = bench_process(*measured, "--device", "cpu", "--json")
        assert [each["latency"] for each in json.loads(again.stdout)] == [teacher["latency"], fbank["latency"]]
        assert "random-mini-hubert, fbank" in again.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["random:hubert_bass"], "Did you mean 'random:hubert_base'"),
            (["{folder}"], "Expected a model's config.json"),
            ([], "Found neither"),
            (["--run", "{folder}"], "Expected a run's folder"),
            (["fbank", "--repeats", "3"], "--repeats applies"),
            (["fbank", "--by-layer", "--price-per-hour", "1"], "--price-per-hour applies"),
            (["fbank", "--latency", "--price-per-hour", "-1"], "Expected a price from 0"),
            (["fbank", "--latency", "--teacher", "fbnak"], "Did you mean 'fbank'"),
            (["fbank", "--by-layer"], "none of the models has layers"),
        ],
    )
    def test_wrong_use_is_told(self, arguments: list[str], message: str, tmp_path: Path) -> None:
        given = [argument.format(folder=tmp_path) for argument in arguments]
        with pytest.raises(UserError) as error:
            application()(["profile", *given], standalone_mode=False)
        assert message in str(error.value)
