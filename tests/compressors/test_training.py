"""The training loop: the reference's trajectory, resuming, what it writes and what it leaves out."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from bench.audio.files import find_audio, read_headers
from bench.contracts import Context
from bench.errors import TrainingError, UserError
from bench.stopping import STOP_SIGNAL, stop_when_asked
from bench.upstream import UpstreamModel
from bench.upstream.config import DropoutRates, uniform_config
from bench.upstream.gates import HardConcrete
from compressors.dphubert.config import DPHuBERTConfig
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.settings import StageConfig, TrainingConfig
from compressors.training.crops import CropBatches
from compressors.training.loop import Training
from compressors.training.objective import Objective
from compressors.training.seeds import derived_seed
from tests.helpers.reference_names import gate_key, small_gated, weight_key


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestReferenceTrajectory:
    """Eight updates of the reference implementation, with its noise held constant, repeated by `Training.run`."""

    @pytest.fixture
    def trajectories(self, reference: Path) -> Any:
        return json.loads((reference / "losses.json").read_text())["trajectory"]

    @pytest.fixture
    def run(self, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
        def run(case: Any) -> tuple[JointDistillationPruning, list[dict[str, str]]]:
            monkeypatch.setattr(
                HardConcrete, "forward", lambda gate: gate.sample(torch.full_like(gate.log_alpha, case["u"]))
            )
            teacher, log_alphas = small_gated(reference / "dphubert_small_hubert_gated.ckpt")
            config = DPHuBERTConfig(
                joint=StageConfig(updates=len(case["steps"]), warmup_updates=3, learning_rate=1e-3),
                final=StageConfig(updates=1, warmup_updates=0, learning_rate=1e-3),
                distillation_layers=case["groups"],
                cosine={"raw": "raw", "log_sig": "log_sigmoid"}[case["cos_type"]],
                dropout=DropoutRates(projection=0, attention=0, feed_forward=0, hidden=0),
                sparsity=0.6,
                sparsity_warmup_updates=4,
                units=("conv", "head", "interm", "attlayer", "ffnlayer"),
                gate_learning_rate=0.02,
                min_duration_s=0.1,
                log_updates=1,
            )
            objective = JointDistillationPruning(teacher, config)
            objective.gates.load_state_dict({key: 0.3 * value + 1.5 for key, value in log_alphas.items()})
            waveforms = np.load(reference / "dphubert_small_hubert.npz")["wav"][:, :11041]
            for index, waveform in enumerate(waveforms):
                soundfile.write(tmp_path / f"{index}.wav", waveform, 16_000, subtype="FLOAT")
            files = read_headers(find_audio(tmp_path))
            Training(config, files, tmp_path / "work", tmp_path / "training.csv", Context()).run(
                "joint", config.joint, objective
            )
            return objective, _rows(tmp_path / "training.csv")

        return run

    @pytest.mark.parametrize("name", ["u0.5"])
    def test_is_repeated(self, name: str, trajectories: Any, run: Callable[[Any], Any], reference: Path) -> None:
        case = trajectories[name]
        objective, rows = run(case)
        assert len(rows) == len(case["steps"]) == 8
        for row, step in zip(rows, case["steps"], strict=True):
            for ours, theirs in {
                "loss": "train_loss",
                "distillation": "train_loss_distill",
                "l1": "train_loss_l1",
                "cosine": "train_loss_cos",
                "gradient_norm": "grad_norm_before_clip",
            }.items():
                assert float(row[ours]) == pytest.approx(step[theirs], rel=1e-4), (step["step"], ours)
            for ours, theirs in {
                "regulariser": "train_loss_reg",
                "expected_sparsity": "sparsity_expected",
                "target_sparsity": "sparsity_target",
                "lambda1": "lambda1_before",
                "lambda2": "lambda2_before",
            }.items():
                assert float(row[ours]) == pytest.approx(step[theirs], rel=1e-3, abs=1e-6), (step["step"], ours)
            assert float(row["learning_rate"]) == pytest.approx(step["lrs"][0], rel=1e-6, abs=1e-12)
        last = case["steps"][-1]
        assert objective.multipliers.linear.item() == pytest.approx(last["lambda1_after"], rel=1e-3)
        assert objective.multipliers.quadratic.item() == pytest.approx(last["lambda2_after"], rel=1e-3)
        self._compare_weights(objective, name, reference)

    def _compare_weights(self, objective: JointDistillationPruning, name: str, reference: Path) -> None:
        arrays = np.load(reference / "losses.npz")
        state = objective.distillation.student.state_dict()
        state |= {f"projections.{key}": value for key, value in objective.distillation.projections.state_dict().items()}
        compared = 0
        for key in arrays:
            prefix, _, path = key.removeprefix(f"traj/{name}/").partition("/")
            if key.startswith("traj") and prefix == "final_log_alpha":
                found = objective.gates.state_dict()[f"{gate_key(path)}.log_alpha"]
            elif key.startswith("traj") and prefix == "final":
                found = state[weight_key(path).replace("proj_group", "projections.")]
            else:
                continue
            np.testing.assert_allclose(found.numpy(), arrays[key], atol=1e-3, rtol=0, err_msg=key)
            compared += 1
        assert compared == 23 + 7


class TestSchedule:
    def test_learning_rates_are_the_references(self, reference: Path) -> None:
        schedules = json.loads((reference / "losses.json").read_text())["lr_schedule"]
        for name, stage in {
            "stage1_warmup15000_max50000_lr2e-4_reg0.02": StageConfig(
                updates=50_000, warmup_updates=15_000, learning_rate=2e-4
            ),
            "stage2_warmup5000_max25000_lr1e-4": StageConfig(updates=25_000, warmup_updates=5_000, learning_rate=1e-4),
            "tiny_warmup3_max10_lr1": StageConfig(updates=10, warmup_updates=3, learning_rate=1),
        }.items():
            for update, (rate, *gate_rates) in schedules[name].items():
                factor = stage.learning_rate_factor(int(update))
                assert stage.learning_rate * factor == pytest.approx(rate, rel=1e-9, abs=1e-15), (name, update)
                assert [abs(gate_rate) for gate_rate in gate_rates] == pytest.approx([0.02 * factor] * len(gate_rates))


class Noisy(Objective):
    """A small objective with all that resuming must restore: momentum, dropout, batches, the update's number."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.3), nn.Linear(16, 1))
        self.fails_at = fails_at
        self.seen: list[float] = []

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
        if update == self.fails_at:
            raise KeyError("stopped here")
        self.seen.append(waveforms.sum().item())
        loss = (self.layers(waveforms[:, :16] * 10) - 1 / (update + 1)).square().mean()
        return {"loss": loss, "progress": float(update)}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": self.parameters(), "lr": learning_rate, "weight_decay": 0.0}]


def harm(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "a folder":
        path.unlink()
        path.mkdir()
        return
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    changed = {"one bit": bytes(flipped), "torn": content[:-1000], "empty": b"", "no checkpoint": b"{}" * 100}
    path.write_bytes(changed[damage])


class Overflowing(Noisy):
    """Its gradients overflow at some updates."""

    def __init__(self, *updates: int, fails_at: int | None = None) -> None:
        super().__init__(fails_at)
        self.updates = updates

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
        parts = super().forward(waveforms, update)
        factor = float("inf") if update in self.updates else 1.0
        return parts | {"loss": parts["loss"].float() * factor}


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let writing fail in files that grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestTraining:
    stage = StageConfig(updates=11, warmup_updates=2, learning_rate=0.01)

    @pytest.fixture
    def training(self, speech_folder: Path, tmp_path: Path) -> Training:
        config = TrainingConfig(seconds_per_batch=3, accumulate_batches=2, checkpoint_updates=3, log_updates=2)
        files = read_headers(find_audio(speech_folder))
        return Training(config, files, tmp_path / "work", tmp_path / "training.csv", Context(seed=3))

    def test_an_interrupted_stage_ends_in_the_same_weights_rows_and_batches(
        self, training: Training, tmp_path: Path
    ) -> None:
        whole = Noisy()
        training.run("stage", self.stage, whole)
        again = replace(training, workdir=tmp_path / "again", history=tmp_path / "again.csv")
        for fails_at in (2, 8, 9):  # Before the first checkpoint; two updates after the second; with the third.
            with pytest.raises(KeyError, match="stopped here"):
                again.run("stage", self.stage, Noisy(fails_at))
        resumed = Noisy()
        again.run("stage", self.stage, resumed)
        assert len(resumed.seen) == 2 * (11 - 9)
        assert resumed.seen == whole.seen[-4:]
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key
        assert (tmp_path / "again.csv").read_text() == (tmp_path / "training.csv").read_text()
        assert [row["update"] for row in _rows(tmp_path / "again.csv")] == ["2", "4", "6", "8", "10", "11"]

    def test_a_finished_stage_is_not_repeated(self, training: Training) -> None:
        first, second = Noisy(), Noisy(fails_at=0)
        training.run("stage", self.stage, first)
        training.run("stage", self.stage, second)
        assert not second.seen
        for key, value in first.state_dict().items():
            assert torch.equal(second.state_dict()[key], value), key

    @pytest.mark.parametrize("damage", ["one bit", "torn", "empty", "no checkpoint", "a folder"])
    @pytest.mark.parametrize("which", [("stage.ckpt",), ("stage.ckpt", "stage.previous.ckpt")], ids=len)
    def test_a_damaged_checkpoint_is_named_set_aside_and_made_again(
        self,
        training: Training,
        tmp_path: Path,
        damage: str,
        which: tuple[str, ...],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        whole = Noisy()
        training.run("stage", self.stage, whole)
        again = replace(training, workdir=tmp_path / "again", history=tmp_path / "again.csv")
        with pytest.raises(KeyError, match="stopped here"):
            again.run("stage", self.stage, Noisy(8))
        for name in which:
            harm(again.workdir / name, damage)
        resumed = Noisy()
        again.run("stage", self.stage, resumed)
        for name in which:
            assert str(again.workdir / name) in caplog.text
            assert (again.workdir / f"{name}.damaged").exists()
        assert len(resumed.seen) == 2 * (11 - (3 if len(which) == 1 else 0))
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key
        assert (tmp_path / "again.csv").read_text() == (tmp_path / "training.csv").read_text()

    def test_a_damaged_history_is_written_again(self, training: Training, tmp_path: Path) -> None:
        for stage in ("first", "second"):
            training.run(stage, self.stage, Noisy())
        whole = training.history.read_text()
        training.history.write_text(whole.replace("second", "f\n,"))
        later = replace(training, logged={})
        for stage in ("first", "second"):
            later.run(stage, self.stage, Noisy())
        assert training.history.read_text() == whole

    def test_stages_differ_in_their_noise_and_share_one_history(self, training: Training) -> None:
        first, second = Noisy(), Noisy()
        training.run("first", self.stage, first)
        training.run("second", self.stage, second)
        assert first.seen != second.seen
        assert [row["stage"] for row in _rows(training.history)] == ["first"] * 6 + ["second"] * 6

    def test_another_seed_is_another_result(self, training: Training, tmp_path: Path) -> None:
        first, second = Noisy(), Noisy()
        training.run("stage", self.stage, first)
        replace(training, workdir=tmp_path / "other", context=Context(seed=4)).run("stage", self.stage, second)
        assert first.seen != second.seen

    def test_worker_processes_do_not_change_the_result(self, training: Training, tmp_path: Path) -> None:
        first, second = Noisy(), Noisy()
        training.run("stage", self.stage, first)
        config = training.config.model_copy(update={"num_workers": 2})
        replace(training, config=config, workdir=tmp_path / "other").run("stage", self.stage, second)
        assert first.seen == second.seen

    def test_accumulation_averages_the_gradients_of_its_batches(self, training: Training) -> None:
        objective = Noisy()
        training.run("stage", StageConfig(updates=3, warmup_updates=0, learning_rate=1e-9), objective)
        rows = _rows(training.history)
        assert len(objective.seen) == 6
        assert float(rows[0]["progress"]) == 0.5

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_unreadable_audio_stops_the_stage_with_one_line(
        self, training: Training, tmp_path: Path, num_workers: int
    ) -> None:
        path = tmp_path / "nan.wav"
        soundfile.write(path, np.full(16_000, np.nan), 16_000, subtype="FLOAT")
        config = training.config.model_copy(update={"num_workers": num_workers})
        with pytest.raises(UserError, match=r"^Expected finite samples. Found NaN or infinity in .*nan.wav") as caught:
            replace(training, config=config, files=read_headers([path])).run("stage", self.stage, Noisy())
        assert "\n" not in str(caught.value)

    def test_ctrl_c_is_left_to_the_application(self, training: Training) -> None:
        class Interrupted(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                raise KeyboardInterrupt

        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            training.run("stage", self.stage, Interrupted())
        signal.signal(signal.SIGINT, handler)

    def test_nan_stops_the_stage_and_spares_the_checkpoint(self, training: Training) -> None:
        class Diverging(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                parts = super().forward(waveforms, update)
                parts["loss"] = parts["loss"] * (float("nan") if update >= 5 else 1.0)
                return parts

        with pytest.raises(UserError, match=r"loss.* infinite or NaN in stage stage, at update 6") as caught:
            training.run("stage", self.stage, Diverging())
        crops = CropBatches(training.files, training.config, derived_seed(training.context.seed, "stage")).crops(10)
        more = f" and {len(crops) - 1} more" if len(crops) > 1 else ""
        assert f"first in batch 10 ({crops[0].file.path}{more})" in str(caught.value)
        kept = torch.load(training.workdir / "stage.ckpt", weights_only=True)
        assert kept["global_step"] == 3
        assert all(value.isfinite().all() for value in kept["state_dict"].values())

    def test_updates_that_overflow_in_fp16_are_skipped_and_counted(
        self, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Here on the CPU, where fp16 is refused as it is slow."""
        monkeypatch.setattr("compressors.training.precision.precision_on", lambda config, context: "fp16")
        half = replace(training, config=training.config.model_copy(update={"precision": "fp16"}))
        whole = Overflowing(3, 4, 9)
        half.run("stage", self.stage, whole)
        assert all(value.isfinite().all() for value in whole.state_dict().values())
        rows = _rows(half.history)
        assert [row["skipped_updates"] for row in rows] == ["0", "1", "1", "0", "1", "0"]
        assert [row["update"] for row in rows] == ["2", "4", "6", "8", "10", "11"]
        assert all(np.isfinite(float(value)) for row in rows for key, value in row.items() if key != "stage")
        assert "1 of the last updates overflowed in fp16 and were skipped, 2 in all" in caplog.text
        again = replace(half, workdir=tmp_path / "again", history=tmp_path / "again.csv")
        with pytest.raises(KeyError):
            again.run("stage", self.stage, Overflowing(3, 4, 9, fails_at=8))
        resumed = Overflowing(3, 4, 9)
        again.run("stage", self.stage, resumed)
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key
        assert again.history.read_text() == half.history.read_text()

    def test_ten_updates_in_a_row_that_overflow_in_fp16_stop_the_stage(
        self, training: Training, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("compressors.training.precision.precision_on", lambda config, context: "fp16")
        config = training.config.model_copy(update={"precision": "fp16"})
        stage = self.stage.model_copy(update={"updates": 40})
        with pytest.raises(TrainingError, match=r"10 updates in a row .* stage stage, at update 16") as caught:
            replace(training, config=config).run("stage", stage, Overflowing(2, *range(6, 40)))
        crops = CropBatches(training.files, config, derived_seed(training.context.seed, "stage")).crops(12)
        assert f"first in batch 12 ({crops[0].file.path}" in str(caught.value)

    def test_a_full_disk_is_named_and_the_last_checkpoint_stays(self, training: Training, tmp_path: Path) -> None:
        whole = Noisy()
        training.run("stage", self.stage, whole)
        again = replace(training, workdir=tmp_path / "again", history=tmp_path / "again.csv")
        half = (training.workdir / "stage.ckpt").stat().st_size // 2
        with full_disk(after=half), pytest.raises(OSError, match="too large") as caught:
            again.run("stage", self.stage, Noisy())
        assert caught.value.filename == str(again.workdir / "stage.next.ckpt")
        assert [path for path in again.workdir.iterdir() if path.name != "stage.ckpt"] == []
        resumed = Noisy()
        again.run("stage", self.stage, resumed)
        for key, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key

    def test_sigterm_ends_a_stage_as_ctrl_c_does(self, training: Training) -> None:
        """The application turns the signal into `KeyboardInterrupt`; lightning and the readers leave it to that."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        class Ended(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                if update == 5:
                    # So that a signal to the whole group, as of a terminal or ``timeout``, ends this process first.
                    readers = [child.pid for child in multiprocessing.active_children() if child not in others]
                    assert len(readers) == 2
                    assert {os.getpgid(reader) for reader in readers} == set(readers)
                    os.kill(os.getpid(), signal.SIGTERM)
                return super().forward(waveforms, update)

        others = multiprocessing.active_children()  # of earlier tests
        handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
        config = training.config.model_copy(update={"num_workers": 2})
        signal.signal(signal.SIGTERM, interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                replace(training, config=config).run("stage", self.stage, Ended())
            assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == [handlers[0], interrupt]
        finally:
            signal.signal(signal.SIGTERM, handlers[1])
        assert set(multiprocessing.active_children()) <= set(others)
        assert torch.load(training.workdir / "stage.ckpt", weights_only=True)["global_step"] == 3

    def test_a_requested_stop_saves_the_update_at_hand(self, training: Training) -> None:
        class Asked(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                if update == 4:
                    os.kill(os.getpid(), STOP_SIGNAL)
                return super().forward(waveforms, update)

        stop_when_asked()
        with pytest.raises(KeyboardInterrupt):
            training.run("stage", self.stage, Asked())
        # A periodic checkpoint would be of update 3.
        assert torch.load(training.workdir / "stage.ckpt", weights_only=True)["global_step"] == 5
        stop_when_asked()
        resumed = Noisy()
        training.run("stage", self.stage, resumed)
        straight = Noisy()
        replace(training, workdir=training.workdir / "straight").run("stage", self.stage, straight)
        for key, value in straight.state_dict().items():
            assert torch.equal(resumed.state_dict()[key], value), key

    @pytest.mark.parametrize(
        ("how", "error"), [(signal.SIGTERM, KeyboardInterrupt), (signal.SIGKILL, UserError)], ids=str
    )
    def test_readers_that_are_ended_end_the_stage(
        self, training: Training, how: signal.Signals, error: type[BaseException]
    ) -> None:
        class Ending(Noisy):
            def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
                for child in multiprocessing.active_children():
                    # By another process: torch's readers take SIGTERM of their own for the end of the training.
                    subprocess.run(["kill", f"-{int(how)}", str(child.pid)], check=False)
                time.sleep(1)
                return super().forward(waveforms, update)

        config = training.config.model_copy(update={"num_workers": 2})
        with pytest.raises(error):
            replace(training, config=config).run("stage", self.stage, Ending())

    def test_writes_nothing_to_standard_output_and_nothing_else_to_disk(
        self, training: Training, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        training.run("stage", self.stage, Noisy())
        captured = capfd.readouterr()
        assert captured.out == ""
        assert "lightning" not in captured.err.lower()
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
            "training.csv",
            "work",
            "work/stage.ckpt",
            "work/stage.previous.ckpt",
        ]

    @pytest.mark.parametrize("architecture", ["hubert", "wavlm"])
    def test_mixed_precision_keeps_weights_gates_and_losses_in_fp32(
        self, training: Training, architecture: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """bf16, in which any CPU computes, if slowly."""
        monkeypatch.setattr("compressors.training.precision.has_bf16_units", lambda device: True)
        teacher = UpstreamModel(uniform_config(architecture, 32, 2, 4, 48, conv_channels=8, positional_kernel=16))
        config = DPHuBERTConfig(
            joint=self.stage, final=self.stage, precision="bf16", seconds_per_batch=3, log_updates=1
        )
        objective = JointDistillationPruning(teacher.eval(), config)
        dtypes: dict[str, torch.dtype] = {}
        for name, module in objective.named_modules():
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: dtypes.update({name: getattr(output, "dtype", None)})
            )
        replace(training, config=config).run("stage", self.stage, objective)
        assert {parameter.dtype for parameter in objective.parameters()} == {torch.float32}
        assert dtypes["distillation.student.layers.0.attention.q_proj"] == torch.bfloat16
        assert {dtypes[name] for name in ("gates.head/0", "gates.conv/0", "multipliers")} == {torch.float32}
        assert all(np.isfinite(float(row["loss"])) for row in _rows(training.history))

    def test_seeds_use_the_bits_that_torch_uses(self) -> None:
        seeds = [derived_seed("stage", index) for index in range(1000)]
        assert len(set(seeds)) == 1000
        assert max(seeds) < 2**32
