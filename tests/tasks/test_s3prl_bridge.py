"""The bridge: length rule, what is trained, what survives a kill, what is never mixed."""

from __future__ import annotations

import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bench.contracts import Context, Evaluation
from bench.errors import UserError
from bench.stopping import STOP_SIGNAL, stop_when_asked
from tasks.asr import ASR
from tasks.bridge.head_checkpoints import HeadCheckpoints
from tasks.corpora.librispeech import LibriSpeechData
from tasks.corpora.speech_commands import SpeechCommandsData
from tasks.ks import KS
from tests.helpers.upstreams import LogMel

SHORT_KS = KS.presets["smoke"].model_copy(
    update={"total_steps": 9, "batch_size": 4, "eval_interval_steps": 4, "save_interval_steps": 2}
)
SHORT_ASR = ASR.presets["smoke"].model_copy(
    update={"total_steps": 9, "batch_size": 2, "eval_interval_steps": 4, "save_interval_steps": 2, "hidden_size": 8}
)


@pytest.fixture
def evaluate_ks(speech_commands: SpeechCommandsData, tmp_path: Path) -> Callable[..., Evaluation]:
    def evaluate(upstream: torch.nn.Module, workdir: str, seed: int = 0, **changes: Any) -> Evaluation:
        task = KS(SHORT_KS.model_copy(update=changes))
        return task.evaluate(upstream, speech_commands, tmp_path / workdir, Context(seed=seed, protocol="s3prl"))

    return evaluate


def head(workdir: Path) -> dict[str, torch.Tensor]:
    newest = max((workdir / "s3prl" / "checkpoints").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    state: dict[str, torch.Tensor] = torch.load(newest / "model" / "state_dict.pt", weights_only=True)
    return state


def same(ours: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(ours[name], others[name]) for name in ours)


class TestLengthRule:
    """s3prl: a frame for every stride begun; those that the convolution does not reach repeat the last one."""

    @pytest.mark.parametrize(
        ("stride", "num_samples", "num_frames", "num_own"),
        [(320, 16_000, 50, 49), (320, 16_001, 51, 49), (320, 15_999, 50, 49), (160, 16_000, 100, 98)],
    )
    def test_one_utterance(
        self, make_upstream: Any, stride: int, num_samples: int, num_frames: int, num_own: int
    ) -> None:
        from tasks.bridge.frozen_upstream import FrozenUpstream

        upstream = make_upstream(stride=stride)
        waveforms, lengths = torch.randn(1, num_samples), torch.tensor([num_samples])
        with torch.no_grad():
            own, _ = upstream(waveforms, lengths)
            bridged, frames = FrozenUpstream(upstream)(waveforms, lengths)
        assert len(bridged) == upstream.num_layers + 1
        for states, ours, count in zip(bridged, own, frames, strict=True):
            assert (states.shape[1], count.tolist(), ours.shape[1]) == (num_frames, [num_frames], num_own)
            torch.testing.assert_close(states[:, :num_own], ours)
            torch.testing.assert_close(states[:, num_own:], ours[:, -1:].expand(-1, num_frames - num_own, -1))

    def test_a_shorter_utterance_counts_its_own_strides(self, upstream: Any) -> None:
        from tasks.bridge.frozen_upstream import FrozenUpstream

        _, frames = FrozenUpstream(upstream)(torch.randn(2, 16_000), torch.tensor([16_000, 8_001]))
        assert frames[0].tolist() == [50, 26]

    def test_a_scrap_of_sound_is_long_enough_for_the_convolutions(self, upstream: Any) -> None:
        from tasks.bridge.frozen_upstream import FrozenUpstream

        for lengths in ([16_000, 100], [100]):
            states, _ = FrozenUpstream(upstream)(torch.randn(len(lengths), max(lengths)), torch.tensor(lengths))
            assert torch.isfinite(states[-1]).all()
        assert min(upstream.lengths) >= 400


class TestWhatIsTrained:
    def test_the_head_alone(self, evaluate_ks: Any, upstream: Any, tmp_path: Path) -> None:
        before = {name: value.clone() for name, value in upstream.state_dict().items()}
        evaluate_ks(upstream, "w")
        assert same(before, upstream.state_dict())
        assert all(parameter.grad is None for parameter in upstream.parameters())
        assert set(head(tmp_path / "w")) == {
            "featurizer.weights",
            *(
                f"downstream.{layer}.{kind}"
                for layer in ("hidden_layers.0", "final_proj")
                for kind in ("weight", "bias")
            ),
        }

    def test_the_same_seed_gives_the_same_head_and_another_seed_another(
        self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path
    ) -> None:
        first, second, other = (
            evaluate_ks(make_upstream(), workdir, seed) for workdir, seed in (("a", 0), ("b", 0), ("c", 1))
        )
        assert first == second
        assert same(head(tmp_path / "a"), head(tmp_path / "b"))
        assert not same(head(tmp_path / "a"), head(tmp_path / "c"))
        assert other.settings["arguments"]["train"]["seed"] == 1

    def test_workers_only_read(self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path) -> None:
        alone, helped = evaluate_ks(make_upstream(), "a"), evaluate_ks(make_upstream(), "b", num_workers=2)
        assert alone.predictions == helped.predictions
        assert same(head(tmp_path / "a"), head(tmp_path / "b"))

    def test_what_was_used_is_told(self, evaluate_ks: Any, upstream: Any) -> None:
        settings = evaluate_ks(upstream, "w", eval_interval_steps=500).settings
        assert settings["arguments"]["train"]["eval_step"] == 9
        assert settings["arguments"]["build_optimizer"] == {"name": "Adam", "conf": {"lr": 1e-3}}
        assert settings["num_train_utterances"] == 12 + 3
        json.dumps(settings)

    def test_the_learned_weights_of_the_hidden_states_are_told(
        self, evaluate_ks: Any, upstream: Any, tmp_path: Path
    ) -> None:
        weights = evaluate_ks(upstream, "w", learning_rate=0.1).settings["layer_weights"]
        best = tmp_path / "w" / "s3prl" / "train" / "valid_best" / "model" / "state_dict.pt"
        learned = torch.exp(torch.load(best, weights_only=True)["featurizer.weights"].double())
        assert weights == pytest.approx((learned / learned.sum()).tolist())
        assert len(weights) == upstream.num_layers + 1
        assert max(weights) - min(weights) > 0.01

    def test_a_single_hidden_state_has_no_weights(self, evaluate_ks: Any) -> None:
        assert "layer_weights" not in evaluate_ks(LogMel(), "w").settings


class TestKill:
    """A training killed at any step and called again ends exactly where the uninterrupted one ends."""

    @pytest.mark.parametrize("forwards", [1, 3, 5, 8, 11, 12])
    def test_keyword_spotting_goes_on_exactly(
        self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path, forwards: int
    ) -> None:
        straight = evaluate_ks(make_upstream(), "straight")
        upstream = make_upstream()
        upstream.forwards_left = forwards
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(upstream, "killed")
        upstream.forwards_left = None
        assert evaluate_ks(upstream, "killed") == straight
        assert same(head(tmp_path / "killed"), head(tmp_path / "straight"))

    def test_speech_recognition_goes_on_exactly(
        self, librispeech: LibriSpeechData, make_upstream: Any, tmp_path: Path
    ) -> None:
        task = ASR(SHORT_ASR)
        straight = task.evaluate(make_upstream(), librispeech, tmp_path / "straight", Context(protocol="s3prl"))
        upstream = make_upstream()
        # Steps 1 to 4, six utterances of dev, then step 5 (an epoch has three batches) and a part of step 6.
        upstream.forwards_left = 4 + 6 + 1
        with pytest.raises(KeyboardInterrupt):
            task.evaluate(upstream, librispeech, tmp_path / "killed", Context(protocol="s3prl"))
        upstream.forwards_left = None
        assert task.evaluate(upstream, librispeech, tmp_path / "killed", Context(protocol="s3prl")) == straight
        assert same(head(tmp_path / "killed"), head(tmp_path / "straight"))

    def test_no_more_than_one_interval_is_repeated(self, evaluate_ks: Any, upstream: Any) -> None:
        upstream.forwards_left = 9 + 2  # nine steps, but for the last, and two evaluations of one batch each
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(upstream, "w")
        upstream.forwards_left = 1 + 2  # step 9, and the two test sets
        evaluate_ks(upstream, "w")
        assert upstream.forwards_left == 0

    @pytest.mark.parametrize("is_large", [False, True])
    def test_a_requested_stop_saves_the_step_at_hand(
        self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
    ) -> None:
        if is_large:
            monkeypatch.setattr("tasks.bridge.head_checkpoints.LARGE_BYTES", 1)
        straight = evaluate_ks(make_upstream(), "straight")
        upstream = make_upstream()
        forward = upstream.forward
        steps = iter(range(1, 100))

        def asked(*arguments: Any) -> Any:
            if next(steps) == 3:
                os.kill(os.getpid(), STOP_SIGNAL)
            return forward(*arguments)

        stop_when_asked()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(upstream, "forward", asked)
            evaluate_ks(upstream, "stopped")
        # The periodic checkpoint is of step 2.
        newest = max((tmp_path / "stopped" / "s3prl" / "checkpoints").iterdir())
        assert newest.name == "step_3"
        stop_when_asked()
        assert evaluate_ks(make_upstream(), "stopped") == straight
        assert same(head(tmp_path / "stopped"), head(tmp_path / "straight"))

    def test_a_finished_training_is_only_tested_again(self, evaluate_ks: Any, upstream: Any) -> None:
        first = evaluate_ks(upstream, "w", total_steps=8)
        upstream.forwards_left = 2
        assert evaluate_ks(upstream, "w", total_steps=8) == first

    @pytest.mark.parametrize(
        "harm", ["truncate", "remove", "{", "{}", "[]", "7", '"text"', "null", "\udcff", "[" * 9999]
    )
    def test_a_damaged_checkpoint_is_named_and_set_aside(
        self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        straight = evaluate_ks(make_upstream(), "straight")
        upstream = make_upstream()
        upstream.forwards_left = 7
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(upstream, "torn")
        newest = tmp_path / "torn" / "s3prl" / "checkpoints" / "step_6"
        if harm == "truncate":
            weights = newest / "model" / "state_dict.pt"
            weights.write_bytes(weights.read_bytes()[:-100])
        elif harm == "remove":
            (newest / "training_stats.yaml").unlink()
        else:
            (newest / "manifest.json").write_text(harm, errors="surrogateescape")
        upstream.forwards_left = None
        assert evaluate_ks(upstream, "torn") == straight
        assert str(newest) in caplog.text
        assert (tmp_path / "torn" / "s3prl" / "step_6.damaged").is_dir()
        assert same(head(tmp_path / "torn"), head(tmp_path / "straight"))

    def test_what_s3prl_was_writing_is_ignored(self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path) -> None:
        straight = evaluate_ks(make_upstream(), "straight")
        upstream = make_upstream()
        upstream.forwards_left = 3
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(upstream, "w")
        (tmp_path / "w" / "s3prl" / "train" / "step_8" / "model").mkdir(parents=True)
        upstream.forwards_left = None
        assert evaluate_ks(upstream, "w") == straight


class TestWhatIsWritten:
    def checkpoints(self, workdir: Path) -> list[Path]:
        return sorted((workdir / "s3prl" / "checkpoints").iterdir())

    def test_only_the_latest_head_has_the_state_of_the_optimizer(
        self, evaluate_ks: Any, upstream: Any, tmp_path: Path
    ) -> None:
        evaluate_ks(upstream, "w")
        states = sorted((tmp_path / "w").rglob("optimizer.pt"))
        assert states == [folder / "optimizer.pt" for folder in self.checkpoints(tmp_path / "w")]

    def test_an_unchanged_best_head_is_linked_but_never_by_both_kept_checkpoints(
        self, evaluate_ks: Any, upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        best = Path("valid_best", "model", "state_dict.pt")
        committed: list[tuple[str, int]] = []
        commit = HeadCheckpoints.commit

        def noting(self: HeadCheckpoints, draft: Path) -> None:
            commit(self, draft)
            newest = tmp_path / "w" / "s3prl" / "checkpoints" / draft.name
            committed.append((draft.name, (newest / best).stat().st_ino if (newest / best).exists() else 0))

        monkeypatch.setattr(HeadCheckpoints, "commit", noting)
        evaluate_ks(upstream, "w", eval_interval_steps=4, total_steps=7, save_interval_steps=1)
        files = dict(committed)
        assert files["step_6"] == files["step_4"]
        assert files["step_7"] == files["step_5"]
        in_use = (tmp_path / "w" / "s3prl" / "train" / best).stat().st_ino
        assert len({files["step_6"], files["step_7"], in_use}) == 3

    def test_a_large_head_is_written_every_few_minutes_and_at_the_end(
        self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        straight = evaluate_ks(make_upstream(), "straight")
        monkeypatch.setattr("tasks.bridge.head_checkpoints.LARGE_BYTES", 1)
        committed: list[str] = []
        commit = HeadCheckpoints.commit
        monkeypatch.setattr(
            HeadCheckpoints, "commit", lambda self, draft: committed.append(draft.name) or commit(self, draft)
        )
        assert evaluate_ks(make_upstream(), "large") == straight
        assert committed == ["step_2", "step_8"]
        assert same(head(tmp_path / "large"), head(tmp_path / "straight"))

    def test_a_large_head_goes_on_exactly(
        self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        straight = evaluate_ks(make_upstream(), "straight")
        monkeypatch.setattr("tasks.bridge.head_checkpoints.LARGE_BYTES", 1)
        upstream = make_upstream()
        upstream.forwards_left = 8
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(upstream, "killed")
        assert [folder.name for folder in self.checkpoints(tmp_path / "killed")] == ["step_2"]
        upstream.forwards_left = None
        assert evaluate_ks(upstream, "killed") == straight
        assert same(head(tmp_path / "killed"), head(tmp_path / "straight"))


class TestFullDisk:
    @pytest.mark.parametrize("wanted_bytes", [0, 1000, 3000])
    def test_the_file_is_named_and_the_training_goes_on_later(
        self, evaluate_ks: Any, make_upstream: Any, tmp_path: Path, wanted_bytes: int
    ) -> None:
        straight = evaluate_ks(make_upstream(), "straight")
        upstream = make_upstream()
        upstream.forwards_left = 3
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(upstream, "full")
        upstream.forwards_left = None
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted_bytes, before[1]))
        try:
            with pytest.raises(OSError, match="too large") as caught:
                evaluate_ks(upstream, "full")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert str(tmp_path / "full" / "s3prl") in str(caught.value.filename)
        assert evaluate_ks(upstream, "full") == straight
        assert same(head(tmp_path / "full"), head(tmp_path / "straight"))


class TestForeignFiles:
    @pytest.mark.parametrize("change", [{"learning_rate": 0.1}, {"hidden_size": 4}, {"total_steps": 5}])
    def test_another_configuration_starts_anew(
        self, evaluate_ks: Any, make_upstream: Any, change: dict[str, Any]
    ) -> None:
        evaluate_ks(make_upstream(), "w")
        assert evaluate_ks(make_upstream(), "w", **change) == evaluate_ks(make_upstream(), "fresh", **change)

    def test_another_upstream_starts_anew(self, evaluate_ks: Any, make_upstream: Any) -> None:
        evaluate_ks(make_upstream(), "w")
        assert evaluate_ks(make_upstream(seed=1), "w") == evaluate_ks(make_upstream(seed=1), "fresh")

    def test_other_audio_starts_anew(
        self, evaluate_ks: Any, make_upstream: Any, speech_commands: SpeechCommandsData, write_tone: Any
    ) -> None:
        evaluate_ks(make_upstream(), "w")
        for clip in speech_commands.root.glob("yes/*.wav"):
            write_tone(clip, 0.5, 3000.0)
        assert evaluate_ks(make_upstream(), "w") == evaluate_ks(make_upstream(), "fresh")

    def test_a_planted_pickle_is_not_executed(self, evaluate_ks: Any, upstream: Any, tmp_path: Path) -> None:
        upstream.forwards_left = 3
        with pytest.raises(KeyboardInterrupt):
            evaluate_ks(upstream, "w")
        upstream.forwards_left = None
        mark = tmp_path / "executed"

        class Planted:
            def __reduce__(self) -> tuple[Any, tuple[Any]]:
                return Path.touch, (mark,)

        folder = tmp_path / "w" / "s3prl"
        for path in [folder / "encoder.pkl", folder / "checkpoints" / "step_2" / "task" / "arguments" / "encoder.pkl"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(Planted()))
        evaluate_ks(upstream, "w")
        assert not mark.exists()


class TestBadSignals:
    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_nan_in_audio_fails_with_the_name_of_the_file(
        self, evaluate_ks: Any, upstream: Any, speech_commands: SpeechCommandsData, num_workers: int
    ) -> None:
        clip = sorted(speech_commands.test_root.glob("yes/*.wav"))[0]
        soundfile.write(clip, np.full(8000, np.nan), 16_000, subtype="FLOAT")
        with pytest.raises(UserError, match=f"NaN or infinity in {clip}") as caught:
            evaluate_ks(upstream, "w", num_workers=num_workers)
        assert str(caught.value).startswith("Expected finite samples.")
        assert "\n" not in str(caught.value)

    def test_an_upstream_of_nan_fails(self, evaluate_ks: Any, upstream: Any) -> None:
        with torch.no_grad():
            upstream.layers[1].weight[0, 0] = torch.nan
        with pytest.raises(UserError, match="hidden states"):
            evaluate_ks(upstream, "w")
