"""``--protocol s3prl`` is s3prl: the same data, seed and upstream give the metrics of s3prl's recipe run by itself.

By itself means: s3prl parses the corpus, finds the lengths, trains, selects, saves, restores and tests; of ours there
are the shims without which it does not start, and a `build_upstream` that returns the upstream.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bench.contracts import Context, Evaluation, Settings
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.config import uniform_config
from bench.upstream.random_shapes import random_model
from tasks.asr import ASR
from tasks.asv import ASV
from tasks.bridge import s3prl_compat
from tasks.corpora.fluent_speech_commands import FluentSpeechCommandsData
from tasks.corpora.iemocap import IEMOCAPData
from tasks.corpora.librimix import LibriMixData
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.snips import SNIPSData
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.corpora.voxceleb1 import VoxCeleb1Data
from tasks.corpora.voxceleb1_trials import VoxCeleb1TrialsData
from tasks.er import ER
from tasks.ic import IC
from tasks.ks import KS
from tasks.pr import PR, PRLibriSpeechData
from tasks.sd import SD
from tasks.sf import SF
from tasks.sid import SID
from tests.helpers.embedded import write_embedded

pytestmark = pytest.mark.slow

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven"]
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SMALL_LSTM = {
    "model_conf": {
        "proj_size": 64,
        "hidden_size": [64],
        "dropout": [0.2],
        "layer_norm": [False],
        "proj": [False],
        "sample_rate": [1],
    },
    "specaug_conf": {"freq_mask_width_range": [0, 10], "num_freq_mask": 1, "time_mask_width_range": [0, 10]},
}


@pytest.fixture(scope="module")
def upstream() -> UpstreamModel:
    """A small HuBERT whose features depend on padding, as those of HuBERT Base do."""
    return random_model(uniform_config("hubert", 48, 2, 2, 96, conv_channels=24))


@pytest.fixture
def fbank() -> Any:
    """Filter banks, from which a small LSTM learns to spell faster."""
    return load_upstream("fbank")


@pytest.fixture
def run_s3prl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def run(upstream: Any, module_name: str, class_name: str, changes: dict[str, Any]) -> Path:
        recipe = s3prl_compat.recipe_class(module_name, class_name)
        from s3prl.dataio.dataset import get_info

        # The suite's own replacements in the recipe are not shims that it needs.
        for base in recipe.__mro__:
            for name, original in (("pd", pd), ("get_info", get_info)):
                if hasattr(sys.modules[base.__module__], name):
                    monkeypatch.setattr(sys.modules[base.__module__], name, original)
        folder = tmp_path / "alone"
        problem = _with_upstream(recipe, upstream)()
        arguments = OmegaConf.merge(OmegaConf.create(problem.default_config()), changes)
        arguments.merge_with(
            {"target_dir": str(folder), "cache_dir": str(tmp_path / "cache"), "build_upstream": {"name": "ours"}}
        )
        problem.run(
            **OmegaConf.to_container(arguments, resolve=True, throw_on_missing=True), device="cpu", num_workers=0
        )
        return folder

    return run


def _with_upstream(recipe: Any, upstream: Any) -> Any:
    from s3prl.nn.upstream import S3PRLUpstream

    class Unpadded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = upstream

        def forward(self, waveforms: list[Tensor]) -> dict[str, list[Tensor]]:
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            return {"hidden_states": self.model(pad_sequence(waveforms, batch_first=True), lengths)[0]}

    class Wrapped(S3PRLUpstream):  # type: ignore[misc]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.upstream, self.normalize = Unpadded(), False
            states = upstream.num_layers + 1
            self._num_layers, self._hidden_sizes, self._downsample_rates = (
                states,
                [upstream.dim] * states,
                [upstream.stride] * states,
            )

    return type(f"Alone{recipe.__name__}", (recipe,), {"build_upstream": lambda _self, _arguments: Wrapped()})


def training(steps: int, *, batch_size: int, learning_rate: float, accumulate: int = 1) -> dict[str, Any]:
    """What a short training differs in from the recipe, in s3prl's words."""
    return {
        "build_batch_sampler": {"train": {"batch_size": batch_size}},
        "build_optimizer": {"conf": {"lr": learning_rate}},
        "train": {
            "total_steps": steps,
            "eval_step": steps // 3,
            "save_step": steps,
            "log_step": steps,
            "gradient_accumulate": accumulate,
            "seed": 0,
        },
    }


def suite_training(preset: Settings, changes: dict[str, Any], **more: Any) -> Any:
    """The same in the suite's words, on top of the preset ``paper``."""
    steps = changes["train"]["total_steps"]
    update = {
        "total_steps": steps,
        "eval_interval_steps": steps // 3,
        "save_interval_steps": steps,
        "batch_size": changes["build_batch_sampler"]["train"]["batch_size"],
        "learning_rate": changes["build_optimizer"]["conf"]["lr"],
        "gradient_accumulation_steps": changes["train"]["gradient_accumulate"],
        "num_workers": 0,
        **more,
    }
    return preset.model_copy(update=update)


def assert_same(ours: Evaluation, workdir: Path, alone: Path, test_table: str = "test") -> None:
    """Every metric of the test set, the loss, and every weight of the trained head."""
    result = alone / "evaluate" / "valid_best" / test_table / "result.yaml"
    theirs = yaml.safe_load(result.read_text(encoding="utf-8"))
    assert ours.settings["test_recipe_metrics"] == theirs
    assert {name: ours.scores["test"][name] for name in ours.scores["test"]} == {
        name: theirs[name] for name in ours.scores["test"]
    }
    [step] = alone.glob("train/step_*")
    [own_step] = workdir.glob("s3prl/checkpoints/step_*")
    head = torch.load(own_step / "model" / "state_dict.pt", weights_only=True)
    their_state = torch.load(step / "model" / "state_dict.pt", weights_only=True)
    their_head = {name: weight for name, weight in their_state.items() if not name.startswith("upstream.")}
    assert own_step.name == step.name
    assert head.keys() == their_head.keys()
    assert all(torch.equal(head[name], weight) for name, weight in their_head.items())


@pytest.mark.real_speech
def test_keyword_spotting(
    real_speech: Path,
    upstream: UpstreamModel,
    run_s3prl: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, test_root = real_speech / "speech_commands_v1", real_speech / "speech_commands_test_set_v1"
    changes = training(90, batch_size=16, learning_rate=1e-2)
    s3prl_compat.install()
    from s3prl.dataio.corpus import speech_commands

    # s3prl's words are hard-coded; SUPERB's are these folders.
    monkeypatch.setattr(speech_commands, "CLASSES", [*DIGITS, "_unknown_", "_silence_"])
    monkeypatch.setattr("torchaudio.info", _soundfile_info, raising=False)
    data = {"prepare_data": {"gsc1": str(root), "gsc1_test": str(test_root)}}
    alone = run_s3prl(upstream, "s3prl.problem.common.superb_ks", "SuperbKS", {**changes, **data})
    task = KS(suite_training(KS.presets["paper"], changes))
    ours = task.evaluate(
        upstream, SpeechCommandsData(root=root, test_root=test_root), tmp_path / "w", Context(protocol="s3prl")
    )
    assert_same(ours, tmp_path / "w", alone)
    assert ours.scores["test"]["accuracy"] > 0.15


def _soundfile_info(path: str) -> Any:
    """Stand in for ``torchaudio.info``, which torchaudio 2.9 removed."""
    import soundfile

    class Info:
        sample_rate = soundfile.info(path).samplerate
        num_frames = soundfile.info(path).frames

    return Info


@pytest.fixture
def split_file(real_speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let s3prl find VoxCeleb1's split file, which it would download, in the corpus."""
    s3prl_compat.install()
    from s3prl.dataio.corpus.voxceleb1sid import VoxCeleb1SID

    usage = VoxCeleb1SID._get_standard_usage
    monkeypatch.setattr(VoxCeleb1SID, "_get_standard_usage", staticmethod(lambda root, _: usage(root, root)))


@pytest.mark.real_speech
@pytest.mark.usefixtures("split_file")
def test_speaker_identification(real_speech: Path, upstream: UpstreamModel, run_s3prl: Any, tmp_path: Path) -> None:
    """With random crops, and gradients accumulated over batches."""
    root = real_speech / "voxceleb1"
    changes = training(60, batch_size=4, learning_rate=1e-2, accumulate=2)
    more = {"prepare_data": {"dataset_root": str(root), "n_jobs": 1}, "build_dataset": {"train": {"max_secs": 1.0}}}
    alone = run_s3prl(upstream, "s3prl.problem.common.superb_sid", "SuperbSID", {**changes, **more})
    task = SID(suite_training(SID.presets["paper"], changes, max_train_s=1.0))
    ours = task.evaluate(upstream, VoxCeleb1Data(root=root), tmp_path / "w", Context(protocol="s3prl"))
    assert_same(ours, tmp_path / "w", alone)
    assert ours.scores["test"]["accuracy"] > 1 / len(SPEAKERS)


@pytest.mark.real_speech
def test_speaker_verification(
    real_speech: Path, upstream: UpstreamModel, run_s3prl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the selection: s3prl alone tests all of its checkpoints, of which there is one here."""
    root = _as_trials(real_speech / "voxceleb1", tmp_path / "VoxCeleb1", tmp_path / "cache")
    changes = training(6, batch_size=4, learning_rate=1e-3, accumulate=2)
    changes["train"]["eval_step"] = 10**9
    more = {
        "prepare_data": {"dataset_root": str(root)},
        "build_dataset": {"train": {"min_secs": 0.4, "max_secs": 100.0}},
        "build_downstream": {"hidden_size": 32, "aggregation_size": 32, "output_size": 16},
    }
    s3prl_compat.install()
    monkeypatch.setattr("s3prl.dataio.corpus.voxceleb1sv._download", lambda *_, **__: None)
    alone = run_s3prl(upstream, "s3prl.problem.asv.superb_asv", "SuperbASV", {**changes, **more})
    sizes = {"hidden_size": 32, "aggregation_size": 32, "embedding_size": 16, "min_train_s": 0.4, "max_train_s": 100.0}
    task = ASV(suite_training(ASV.presets["paper"], changes, **sizes, max_eval_utterances=None))
    task._config = task._config.model_copy(update={"eval_interval_steps": 6})
    ours = task.evaluate(upstream, VoxCeleb1TrialsData(root=root), tmp_path / "w", Context(protocol="s3prl"))
    theirs = yaml.safe_load((alone / "evaluate/test_trial/step_6/result.yaml").read_text(encoding="utf-8"))
    assert ours.settings["test_recipe_metrics"] == theirs
    assert ours.scores["test"]["eer"] == theirs["EER"]
    states = [
        torch.load(folder / "step_6" / name, weights_only=True)
        for folder in (tmp_path / "w/s3prl/checkpoints", alone / "train")
        for name in ("model/state_dict.pt", "task/state.pt")
    ]
    assert all(torch.equal(weight, states[2][name]) for name, weight in states[0].items())
    assert torch.equal(states[1]["loss_state"]["W"], states[3]["loss_state"]["W"])


def _as_trials(voxceleb1: Path, root: Path, cache: Path) -> Path:
    """Rename two speakers to those whom s3prl tests, and write the lists that it would download."""
    files: dict[str, list[Path]] = {}
    for file in sorted(voxceleb1.glob("*/wav/*/*/*.wav")):
        files.setdefault(file.parts[-3], []).append(file)
    names = [f"id{number}" for number in (10001, 10002, 10003, 10004, 10270, 10271)]
    usage, tested = [], []
    for name, (_, spoken) in zip(names, sorted(files.items()), strict=True):
        for file in spoken[:8]:
            path = f"{name}/{file.parts[-2]}/{file.name}"
            target = root / ("test" if name >= "id10270" else "dev") / "wav" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            usage.append(f"1 {path}\n")
            tested += [path] if name >= "id10270" else []
    trials = [f"{int(one[:7] == other[:7])} {one} {other}\n" for one in tested for other in tested if one < other]
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "iden_split.txt").write_text("".join(usage))
    for file in (root / "veri_test.txt", cache / "voxceleb1_test_v2.txt"):
        file.write_text("".join(trials))
    return root


@pytest.mark.real_speech
def test_intent_classification(
    real_speech: Path, upstream: UpstreamModel, run_s3prl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = real_speech / "fluent_speech_commands"
    monkeypatch.setattr(pd.Series, "iteritems", pd.Series.items, raising=False)
    changes = training(60, batch_size=8, learning_rate=1e-2)
    data = {"prepare_data": {"dataset_root": str(root)}}
    alone = run_s3prl(upstream, "s3prl.problem.common.superb_ic", "SuperbIC", {**changes, **data})
    task = IC(suite_training(IC.presets["paper"], changes))
    ours = task.evaluate(upstream, FluentSpeechCommandsData(root=root), tmp_path / "w", Context(protocol="s3prl"))
    assert_same(ours, tmp_path / "w", alone)


@pytest.mark.real_speech
def test_emotion_recognition(real_speech: Path, upstream: UpstreamModel, run_s3prl: Any, tmp_path: Path) -> None:
    """Human speech in IEMOCAP's layout; who speaks stands for what they feel, which the pack does not know."""
    root = tmp_path / "IEMOCAP"
    names = _as_iemocap(real_speech / "voxceleb1", root)
    for part, session_is_in in (("train", lambda name: name[4] != "1"), ("test", lambda name: name[4] == "1")):
        entries = [{"path": f"{name}.wav"} for name in names if session_is_in(name)]
        text = json.dumps({"meta_data": entries})
        for file in (
            root / f"meta_data/Session1/{part}_meta_data.json",
            tmp_path / f"cache/test_session1_{part}_metadata.json",
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    changes = training(60, batch_size=4, learning_rate=1e-2, accumulate=2)
    data = {"prepare_data": {"iemocap": str(root), "test_fold": 0}}
    alone = run_s3prl(upstream, "s3prl.problem.common.superb_er", "SuperbER", {**changes, **data})
    task = ER(suite_training(ER.presets["paper"], changes, folds=(0,)))
    ours = task.evaluate(upstream, IEMOCAPData(root=root), tmp_path / "w", Context(protocol="s3prl"))
    fold = Evaluation(ours.scores, ours.predictions, ours.settings["folds"][0])
    assert_same(fold, tmp_path / "w" / "fold0", alone)
    assert ours.scores["test"]["accuracy"] > 0.25


def _as_iemocap(voxceleb1: Path, root: Path) -> list[str]:
    emotions = ("neu", "exc", "ang", "sad", "hap", "fru")
    names = []
    for session in range(1, 6):
        dialog = f"Ses0{session}F_impro01"
        lines = []
        for index, file in enumerate(sorted(voxceleb1.glob("*/wav/*/*/*.wav"))[session - 1 :: 5]):
            emotion = emotions[sorted({path.name for path in voxceleb1.glob("*/wav/*")}).index(file.parts[-3])]
            name = f"{dialog}_F{index:03d}"
            audio = root / f"Session{session}/sentences/wav/{dialog}/{name}.wav"
            audio.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, audio)
            lines.append(f"[{index}.2901 - {index}.5000]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n")
            names += [name] if emotion != "fru" else []
        evaluation = root / f"Session{session}/dialog/EmoEvaluation/{dialog}.txt"
        evaluation.parent.mkdir(parents=True)
        evaluation.write_text("".join(lines), encoding="utf-8")
    return names


@pytest.mark.real_speech
def test_speech_recognition(real_speech: Path, fbank: Any, run_s3prl: Any, tmp_path: Path) -> None:
    root = real_speech / "librispeech"
    changes = training(240, batch_size=4, learning_rate=5e-3)
    data = {"prepare_data": {"dataset_root": str(root), "n_jobs": 1}, "build_downstream": SMALL_LSTM}
    doubled = {"build_batch_sampler": {"train": {"batch_size": 8, "max_length": 2000}}}
    alone = run_s3prl(fbank, "s3prl.problem.asr.superb_asr", "SuperbASR", {**changes, **data, **doubled})
    task = ASR(suite_training(ASR.presets["paper"], changes, **small_lstm(ASR.presets["paper"])))
    ours = task.evaluate(fbank, LibriSpeechData(root=root), tmp_path / "w", Context(protocol="s3prl"))
    assert_same(ours, tmp_path / "w", alone, "test-clean")
    assert 0 < ours.scores["test"]["cer"] < 1


def test_phoneme_recognition(
    embedded_data: Path, fbank: Any, run_s3prl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = PRLibriSpeechData.model_validate(yaml.safe_load(embedded_data.read_text(encoding="utf-8"))["tasks"]["pr"])
    s3prl_compat.install()
    from s3prl.dataio.encoder.g2p import G2P
    from s3prl.problem.asr import superb_pr

    # s3prl would download its lexicon.
    monkeypatch.setattr(superb_pr, "G2P", lambda: G2P([str(data.lexicon)]))
    changes = training(60, batch_size=4, learning_rate=1e-2, accumulate=2)
    prepare = {"prepare_data": {"dataset_root": str(data.root), "n_jobs": 1}}
    alone = run_s3prl(fbank, "s3prl.problem.asr.superb_pr", "SuperbPR", {**changes, **prepare})
    task = PR(suite_training(PR.presets["paper"], changes))
    ours = task.evaluate(fbank, data, tmp_path / "w", Context(protocol="s3prl"))
    assert_same(ours, tmp_path / "w", alone, "test-clean")
    # Without any phone it would be 1. Sixty updates insert more phones than there are.
    assert ours.scores["test"]["per"] not in (0, 1)


def small_lstm(preset: Any) -> dict[str, Any]:
    """`SMALL_LSTM` in the suite's words."""
    masks = {"max_frequency_mask": 10, "num_frequency_masks": 1, "max_time_mask": 10}
    return {
        "projection_size": 64,
        "hidden_size": 64,
        "num_lstm_layers": 1,
        "spec_augment": preset.spec_augment.model_copy(update=masks),
    }


@pytest.mark.real_speech
def test_slot_filling(real_speech: Path, fbank: Any, run_s3prl: Any, tmp_path: Path) -> None:
    root = real_speech / "snips"
    changes = training(240, batch_size=4, learning_rate=5e-3)
    speakers = {f"{split}_speakers": list(SPEAKERS) for split in ("train", "valid", "test")}
    data = {"prepare_data": {"dataset_root": str(root), **speakers}, "build_downstream": SMALL_LSTM}
    alone = run_s3prl(fbank, "s3prl.problem.asr.superb_sf", "SuperbSF", {**changes, **data})
    task = SF(suite_training(SF.presets["paper"], changes, **small_lstm(SF.presets["paper"])))
    corpus = SNIPSData(root=root, train_speakers=SPEAKERS, dev_speakers=SPEAKERS, test_speakers=SPEAKERS)
    ours = task.evaluate(fbank, corpus, tmp_path / "w", Context(protocol="s3prl"))
    assert_same(ours, tmp_path / "w", alone)
    assert ours.settings["test_recipe_metrics"]["cer"] < 1


def test_diarisation(upstream: UpstreamModel, run_s3prl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the RTTM files, in recordings of several chunks, whose last one is shorter."""
    embedded = write_embedded(tmp_path / "mini", ("sd",))
    data = LibriMixData.model_validate(yaml.safe_load(embedded.read_text(encoding="utf-8"))["tasks"]["sd"])
    # s3prl takes paths in wav.scp from here.
    monkeypatch.chdir(data.root.parent)
    s3prl_compat.install()
    monkeypatch.setattr("s3prl.problem.diarization.util.score_with_dscore", _error_rate_of_files)
    changes = training(12, batch_size=4, learning_rate=1e-3, accumulate=2)
    more = {
        "prepare_data": {"data_dir": str(data.root)},
        "build_dataset": {"chunk_size": 150},
        "build_downstream": {"hidden_size": 32},
        "scoring": {"thresholds": [0.4, 0.6], "median_filters": [1, 11]},
    }
    alone = run_s3prl(upstream, "s3prl.problem.diarization.superb_sd", "SuperbSD", {**changes, **more})
    sizes = {"hidden_size": 32, "chunk_frames": 150, "thresholds": (0.4, 0.6)}
    task = SD(suite_training(SD.presets["paper"], changes, **sizes))
    ours = task.evaluate(upstream, data, tmp_path / "w", Context(protocol="s3prl"))
    folder = alone / "evaluate" / "valid_best" / "test"
    theirs = yaml.safe_load((folder / "result.yaml").read_text(encoding="utf-8"))
    found = ours.settings["test_recipe_metrics"]
    assert {name: found[name] for name in theirs} == theirs
    scored = yaml.safe_load((folder / "dscore.yaml").read_text(encoding="utf-8"))
    assert (found["scoring_threshold"], found["scoring_median_filter"]) == (
        scored["threshold"],
        scored["median_filter"],
    )
    assert ours.scores["test"]["der"] == pytest.approx(scored["der"] / 100, abs=1e-12)
    [step] = alone.glob("train/step_*")
    head, their_state = (
        torch.load(path / "model" / "state_dict.pt", weights_only=True)
        for path in (tmp_path / "w/s3prl/checkpoints" / step.name, step)
    )
    assert head
    assert all(torch.equal(weight, their_state[name]) for name, weight in head.items())
    for number, row in enumerate(SD(task._config).read(data)["test"].to_dict("records")):
        own = torch.load(tmp_path / f"w/s3prl/evaluate/valid_best/test/prediction/recording{number}.pt")
        assert torch.equal(own, torch.load(folder / "prediction" / f"{row['id']}.pt"))


def _error_rate_of_files(_dscore: Any, hypothesis: Path, reference: Path, _result: Any) -> float:
    """Stand in for dscore, which s3prl downloads: every hundredth of a second, for both orders of two speakers."""
    wrong = spoken = 0
    references, hypotheses = _frames_of_rttm(reference), _frames_of_rttm(hypothesis)
    for recording, true in references.items():
        first, second = [*true.values(), set()][:2]
        one, other = [*hypotheses.get(recording, {}).values(), set(), set()][:2]
        wrong += min(
            sum(
                max((frame in first) + (frame in second), (frame in x) + (frame in y))
                - ((frame in first and frame in x) + (frame in second and frame in y))
                for frame in first | second | x | y
            )
            for x, y in ((one, other), (other, one))
        )
        spoken += len(first) + len(second)
    return 100 * wrong / spoken


def _frames_of_rttm(file: Path) -> dict[str, dict[str, set[int]]]:
    frames: dict[str, dict[str, set[int]]] = {}
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        _, recording, _, onset, duration, _, _, speaker, *_ = line.split()
        start = round(100 * float(onset))
        spoken = frames.setdefault(recording, {}).setdefault(speaker, set())
        spoken.update(range(start, start + round(100 * float(duration))))
    return frames
