"""Speaker verification: the corpus, trials, equal error rates, embeddings and training."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import roc_curve
from typer.testing import CliRunner

from bench.contracts import Context, Evaluation
from bench.errors import UserError
from tasks.asv import ASV
from tasks.bridge import s3prl_compat
from tasks.commands import data
from tasks.corpora.trials import Trial, drawn_recordings, drawn_trials, limited_trials, trials_of, with_trials
from tasks.corpora.voxceleb1_trials import ManifestTrialsData, VoxCeleb1TrialsData
from tests.helpers.manifests import Write

SHORT = ASV.presets["smoke"].model_copy(
    update={
        "total_steps": 6,
        "eval_interval_steps": 2,
        "save_interval_steps": 2,
        "max_train_utterances": None,
        "max_eval_utterances": None,
    }
)


@pytest.fixture
def corpus(tmp_path: Path, write_tone: Callable[..., None]) -> VoxCeleb1TrialsData:
    """Four training speakers and two test speakers, each with a pitch."""
    root = tmp_path / "VoxCeleb1"
    names = {"dev": ("id10001", "id10002", "id10003", "id10004"), "test": ("id10270", "id10271")}
    pitch_hz = 200.0
    for part, speakers in names.items():
        for speaker in speakers:
            pitch_hz *= 1.5
            for index in range(3):
                write_tone(
                    root / part / "wav" / speaker / "v1" / f"{index:05d}.wav", 0.7 + 0.1 * index, pitch_hz + index
                )
    files = [f"{speaker}/v1/{index:05d}.wav" for speaker in names["test"] for index in range(3)]
    lines = [f"{int(one[:7] == other[:7])} {one} {other}\n" for one in files for other in files if one < other]
    (root / "veri_test.txt").write_text("".join(lines), encoding="utf-8")
    return VoxCeleb1TrialsData(root=root)


def equal_error_rate(rows: list[dict[str, Any]]) -> float:
    """Find where both error rates meet on the line between the neighbouring points of scikit-learn's curve."""
    false_alarms, hits, _ = roc_curve([row["reference"] == "same" for row in rows], [row["prediction"] for row in rows])
    points = list(zip(false_alarms, 1 - hits, strict=True))
    for (alarms, misses), (next_alarms, next_misses) in pairwise(points):
        if next_misses <= next_alarms:
            share = (misses - alarms) / ((misses - alarms) - (next_misses - next_alarms))
            return float(alarms + share * (next_alarms - alarms))
    raise AssertionError(points)


class TestReading:
    def test_trains_on_all_of_dev_and_tests_the_trials(self, corpus: VoxCeleb1TrialsData) -> None:
        splits = ASV(SHORT).read(corpus)
        assert splits["train"]["speaker"].value_counts().to_dict() == dict.fromkeys(
            ("id10001", "id10002", "id10003", "id10004"), 3
        )
        assert splits["test"]["id"].tolist()[:2] == ["id10270-v1-00000", "id10270-v1-00001"]
        trials = trials_of(splits["test"])
        assert (len(trials), sum(trial.is_same for trial in trials)) == (15, 6)
        dev = trials_of(splits["dev"])
        speakers = dict(zip(splits["dev"]["id"], splits["dev"]["speaker"], strict=True))
        assert all((speakers[one.first] == speakers[one.second]) == one.is_same for one in dev)

    def test_dev_speakers_are_held_out(self, corpus: VoxCeleb1TrialsData) -> None:
        splits = ASV(SHORT).read(corpus.model_copy(update={"num_dev_speakers": 2}))
        assert set(splits["train"]["speaker"]) == {"id10001", "id10002"}
        assert set(splits["dev"]["speaker"]) == {"id10003", "id10004"}

    @pytest.mark.parametrize(
        ("trials", "expected"),
        [
            (None, "veri_test.txt"),
            ("2 id10270/v1/00000.wav id10271/v1/00000.wav\n", "line 1"),
            ("1 id10270/v1/00000.wav\n", "line 1"),
            ("1 id10270/v1/00000.wav id10270/v1/00000.wav\n", "line 1"),
            ("1 id10270/v1/00000.wav id10270/v1/00009.wav\n", "id10270-v1-00009"),
            ("1 id10270/v1/00000.wav id10270/v1/00001.wav\n", "only same speakers"),
            ("", "Found none"),
        ],
    )
    def test_unusable_trials_are_refused(self, corpus: VoxCeleb1TrialsData, trials: str | None, expected: str) -> None:
        file = corpus.root / "veri_test.txt"
        file.unlink()
        if trials is not None:
            file.write_text(trials)
        with pytest.raises(UserError) as error:
            ASV(SHORT).check(corpus)
        assert expected in str(error.value)
        assert len(str(error.value)) < 400

    def test_a_short_recording_of_a_trial_is_refused(
        self, corpus: VoxCeleb1TrialsData, write_tone: Callable[..., None]
    ) -> None:
        write_tone(corpus.root / "test/wav/id10270/v1/00000.wav", 0.2, 100.0)
        with pytest.raises(UserError, match="id10270-v1-00000"):
            ASV(SHORT).check(corpus)

    @pytest.mark.parametrize("number", [1, 3, 4, 100])
    def test_impossible_numbers_of_dev_speakers_are_refused(self, corpus: VoxCeleb1TrialsData, number: int) -> None:
        with pytest.raises(UserError, match="num_dev_speakers"):
            ASV(SHORT).check(corpus.model_copy(update={"num_dev_speakers": number}))

    def test_other_trials_are_another_corpus(self, corpus: VoxCeleb1TrialsData) -> None:
        first = ASV(SHORT).fingerprint(corpus)
        file = corpus.root / "veri_test.txt"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
        assert ASV(SHORT).fingerprint(corpus) != first

    def test_bench_data_check_knows_the_layout(self, corpus: VoxCeleb1TrialsData, tmp_path: Path) -> None:
        entry = {"root": str(corpus.root), "num_dev_speakers": 2}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": {"asv": entry}}))
        done = CliRunner().invoke(data, ["check", str(tmp_path / "mine.yaml"), "--json"])
        (report,) = json.loads(done.stdout)["corpora"]
        assert report["usable"]
        assert {split["split"]: split["num_utterances"] for split in report["splits"]} == {
            "train": 6,
            "dev": 6,
            "test": 6,
        }
        assert not any("real corpus" in remark for remark in report["remarks"])
        assert not any("speaker" in remark and "too" in remark for remark in report["remarks"])


class TestManifest:
    @pytest.fixture
    def own(self, tmp_path: Path, write_manifest: Write, write_tone: Callable[..., None]) -> Callable[..., Any]:
        def write(trials: list[tuple[str, str, str]]) -> ManifestTrialsData:
            rows = []
            for split in ("train", "dev", "test"):
                for index in range(4):
                    write_tone(tmp_path / f"{split}{index}.wav", 0.6, 200.0 * (index + 1))
                    rows.append({"path": f"{split}{index}.wav", "split": split, "speaker": f"{split}-{index % 2}"})
            pairs = pd.DataFrame(trials, columns=["same", "first", "second"])
            pairs.to_csv(tmp_path / "trials.csv", index=False)
            return ManifestTrialsData(manifest=write_manifest(rows), trials=tmp_path / "trials.csv")

        return write

    GOOD = (("1", "dev0", "dev2"), ("0", "dev0", "dev1"), ("1", "test0", "test2"), ("0", "test0", "test1"))

    def test_trials_belong_to_the_split_of_their_recordings(self, own: Callable[..., Any]) -> None:
        splits = ASV(SHORT).read(own([*self.GOOD]))
        assert [one.name for one in trials_of(splits["dev"])] == ["dev0 dev2", "dev0 dev1"]
        assert splits["test"]["id"].tolist() == ["test0", "test1", "test2"]

    @pytest.mark.parametrize(
        "trial",
        [
            ("yes", "dev0", "dev2"),
            ("1", "dev0", "dev9"),
            ("1", "dev0", "test0"),
            ("1", "train0", "train2"),
            ("1", "dev0", "dev0"),
        ],
    )
    def test_faulty_rows_are_refused(self, own: Callable[..., Any], trial: tuple[str, str, str]) -> None:
        with pytest.raises(UserError, match="row 5 of"):
            ASV(SHORT).check(own([*self.GOOD, trial]))

    def test_a_dev_set_without_trials_is_refused(self, own: Callable[..., Any]) -> None:
        with pytest.raises(UserError, match="dev"):
            ASV(SHORT).check(own([*self.GOOD[2:]]))


class TestTrials:
    @pytest.fixture
    def table(self) -> pd.DataFrame:
        names = [(f"{speaker}-{index}", speaker) for speaker in "abcd" for index in range(5)]
        return pd.DataFrame(names, columns=["id", "speaker"])

    def test_as_many_of_one_speaker_as_of_two(self, table: pd.DataFrame) -> None:
        trials = drawn_trials(table, 4)
        assert len(trials) == len(set(trials)) == 80
        assert sum(trial.is_same for trial in trials) == 40
        assert all((trial.first[0] == trial.second[0]) == trial.is_same for trial in trials)
        assert drawn_trials(table.iloc[::-1], 4)[-4:] == trials[:4]

    def test_limits_keep_pairs(self, table: pd.DataFrame) -> None:
        assert drawn_recordings(table, 4)["speaker"].value_counts().tolist() == [2, 2]
        chosen = limited_trials(drawn_trials(table, 4), 8)
        assert {trial.is_same for trial in chosen} == {True, False}
        assert len({name for trial in chosen for name in (trial.first, trial.second)}) <= 8

    def test_tables_hold_them(self, table: pd.DataFrame) -> None:
        trials = [Trial(True, "a-0", "a-1"), Trial(False, "c-0", "a-1")]
        kept = with_trials(table, [*trials, trials[0]])
        assert kept["id"].tolist() == ["a-0", "a-1", "c-0"]
        assert trials_of(kept) == trials


@pytest.mark.parametrize(
    ("same", "different", "expected"),
    [((0.9, 0.8), (0.1, 0.2), 0.0), ((0.1, 0.2), (0.9, 0.8), 1.0), ((0.9, 0.8, 0.7, 0.2), (0.75, 0.1, 0.3, 0.0), 0.25)],
)
def test_equal_error_rates_of_known_scores(
    same: tuple[float, ...], different: tuple[float, ...], expected: float
) -> None:
    """Of four trials of each kind, a threshold of 0.6 misses one and lets one pass: 1/4."""
    s3prl_compat.install()
    metric = importlib.import_module("s3prl.metric.common")
    labels = [1] * len(same) + [0] * len(different)
    assert metric.compute_eer(labels, [*same, *different])[0] == pytest.approx(expected, abs=1e-9)
    rows = [
        {"reference": "same" if label else "different", "prediction": score}
        for label, score in zip(labels, [*same, *different], strict=True)
    ]
    assert equal_error_rate(rows) == pytest.approx(expected, abs=1e-9)


class TestTraining:
    @pytest.fixture
    def evaluate(self, corpus: VoxCeleb1TrialsData, tmp_path: Path) -> Callable[..., Evaluation]:
        def evaluate(upstream: Any, name: str, protocol: str = "cached", **changes: Any) -> Evaluation:
            task = ASV(SHORT.model_copy(update=changes))
            return task.evaluate(upstream, corpus, tmp_path / name, Context(protocol=protocol))  # type: ignore[arg-type]

        return evaluate

    @pytest.mark.parametrize("protocol", ["cached", "s3prl"])
    def test_scores_are_those_of_the_predictions(self, evaluate: Any, upstream: Any, protocol: str) -> None:
        done = evaluate(upstream, "work", protocol)
        assert set(done.scores) == {"dev", "test"}
        for split, scores in done.scores.items():
            rows = [row for row in done.predictions if row["split"] == split]
            assert scores["eer"] == pytest.approx(equal_error_rate(rows), abs=1e-6)
        test = [row for row in done.predictions if row["split"] == "test"]
        assert len(test) == 15
        assert test[0]["id"] == "id10270-v1-00000 id10270-v1-00001"
        assert (test[0]["reference"], test[0]["first_speaker"]) == ("same", "id10270")
        assert test[0]["duration_s"] == pytest.approx(0.7 + 0.8)
        assert "counts" not in test[0]
        wrong = sum(not row["correct"] for row in test) / len(test)
        assert wrong == pytest.approx(done.scores["test"]["eer"], abs=0.2)

    def test_scores_are_cosines_of_s3prls_embeddings(
        self, evaluate: Any, upstream: Any, corpus: VoxCeleb1TrialsData, tmp_path: Path
    ) -> None:
        """The x-vector in plain operations: dilated convolutions, mean and deviation over time, one linear layer."""
        done = evaluate(upstream, "work", "s3prl")
        (best,) = tmp_path.glob("work/s3prl/train/valid_best/model/state_dict.pt")
        head = torch.load(best, weights_only=True)
        table = ASV(SHORT).read(corpus)["test"].set_index("id")
        first, second = (
            embedding(upstream, head, table.loc[name, "wav_path"]) for name in done.predictions[-1]["id"].split()
        )
        expected = float(first @ second / first.norm() / second.norm())
        assert done.predictions[-1]["prediction"] == pytest.approx(expected, abs=1e-5)

    def test_goes_on_exactly_after_a_kill(self, evaluate: Any, make_upstream: Any, tmp_path: Path) -> None:
        """The class vectors of the loss too, which are no part of the head."""
        straight = evaluate(make_upstream(), "straight", "s3prl")
        upstream = make_upstream()
        upstream.forwards_left = 2 + 12 + 2 + 12 + 1  # Four steps, two evaluations of dev, and a step.
        with pytest.raises(KeyboardInterrupt):
            evaluate(upstream, "killed", "s3prl")
        upstream.forwards_left = None
        assert evaluate(upstream, "killed", "s3prl") == straight
        states = [
            torch.load(tmp_path / name / "s3prl/checkpoints/step_6/task/state.pt", weights_only=True)["loss_state"]["W"]
            for name in ("straight", "killed")
        ]
        assert torch.equal(*states)

    def test_a_diverged_head_is_at_chance(self, evaluate: Any, upstream: Any) -> None:
        done = evaluate(upstream, "work", learning_rate=1e30)
        assert done.scores["test"] == {"eer": 0.5}
        assert math.isnan(done.settings["loss"]["test"])
        unknown = [row for row in done.predictions if row["prediction"] is None]
        assert unknown
        assert not any(row["correct"] for row in unknown)

    def test_the_search_never_takes_a_diverged_head(self, evaluate: Any, upstream: Any) -> None:
        done = evaluate(upstream, "work", learning_rate="auto", learning_rates=(1e-3, 1e30))
        assert done.settings["learning_rate"] == 1e-3
        assert done.settings["learning_rate_search"]["scores"]["1e+30"] is None

    def test_limits_that_leave_nothing_are_refused(self, evaluate: Any, upstream: Any) -> None:
        with pytest.raises(UserError, match="min_train_s"):
            evaluate(upstream, "work", min_train_s=5.0)
        with pytest.raises(UserError, match="max_eval_utterances"):
            evaluate(upstream, "work", max_eval_utterances=1)


def embedding(upstream: Any, head: dict[str, torch.Tensor], path: str) -> torch.Tensor:
    import soundfile

    samples, _ = soundfile.read(path, dtype="float32")
    waveform = torch.from_numpy(samples)
    with torch.inference_mode():
        states, _ = upstream(waveform[None], torch.tensor([len(waveform)]))
        stacked = torch.stack([state[0] for state in states])
        wanted = (len(waveform) - 1) // 320 + 1
        stacked = torch.cat([stacked, stacked[:, -1:].expand(-1, wanted - stacked.shape[1], -1)], dim=1)
        x = torch.einsum("s,std->td", head["featurizer.weights"].softmax(0), stacked)
        x = x @ head["downstream.projector.weight"].T + head["downstream.projector.bias"]
        x = x.T[None]
        for layer, (width, dilation) in enumerate([(5, 1), (3, 2), (3, 3), (1, 1), (1, 1)]):
            name = f"downstream.tdnns.module.{layer}.kernel"
            weight = head[f"{name}.weight"].view(-1, width, x.shape[1]).transpose(1, 2)
            x = torch.nn.functional.conv1d(x, weight, head[f"{name}.bias"], dilation=dilation).relu()
            if (norm := name.replace("kernel", "bn")) + ".weight" in head:
                x = torch.nn.functional.batch_norm(
                    x,
                    head[f"{norm}.running_mean"],
                    head[f"{norm}.running_var"],
                    head[f"{norm}.weight"],
                    head[f"{norm}.bias"],
                )
        pooled = torch.cat([x[0].mean(dim=1), x[0].std(dim=1)])
        return (head["downstream.affine.linear1.weight"] @ pooled + head["downstream.affine.linear1.bias"]).relu()


def test_the_loss_is_am_softmax() -> None:
    """The cosine of the right class less the margin, times the scale, in a cross entropy."""
    s3prl_compat.install()
    loss = importlib.import_module("s3prl.nn.speaker_loss").amsoftmax(4, 3, margin=0.4, scale=30)
    x, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    cosines = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(loss.W, dim=0)
    logits = 30 * (cosines - 0.4 * torch.nn.functional.one_hot(labels, 3))
    assert torch.allclose(loss(x, labels)[0], torch.nn.functional.cross_entropy(logits, labels), atol=1e-5)
    arguments = SHORT.recipe_arguments()
    assert arguments["build_task"] == {"loss_conf": {"margin": 0.4, "scale": 30.0}}


def test_paper_is_the_recipe() -> None:
    """With its defaults for everything that the preset does not name."""
    defaults = s3prl_compat.recipe_class(*ASV.recipe)().default_config()
    ours = ASV.presets["paper"].recipe_arguments()
    assert ours["build_dataset"] == defaults["build_dataset"]
    assert ours["build_task"]["loss_conf"] == defaults["build_task"]["loss_conf"]
    assert ours["build_batch_sampler"]["train"]["batch_size"] == defaults["build_batch_sampler"]["train"]["batch_size"]
    for name in ("total_steps", "save_step", "gradient_accumulate"):
        assert ours["train"][name] == defaults["train"][name]
    inspected = importlib.import_module("inspect").signature(
        importlib.import_module("s3prl.nn.speaker_model").SuperbXvector
    )
    assert {name: inspected.parameters[name].default for name in ours["build_downstream"]} == ours["build_downstream"]
