"""``bench pretrain`` on real files: it learns, goes on after kill -9, stops when it diverges, says what is wrong."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch

from bench.audio.files import AudioFile, find_audio, read_headers
from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.upstream import UpstreamModel, load_upstream
from bench.upstream.checkpoint import read_manifest, weights_hash
from bench.upstream.random_shapes import SHAPES
from bench.upstream.reference import MINI_HUBERT_FOLDER
from compressors.objectives.log_mel import NUM_BANDS, LogMel
from compressors.pretraining.config import BASE, MINI, PRESETS, PretrainingConfig
from compressors.pretraining.folder import pretrain_into, resolved
from compressors.pretraining.held_out import split_held_out
from compressors.pretraining.recipe import Pretraining, supervision
from compressors.training.augmentation import equalised, mixed, noisy, reverberated
from compressors.training.checkpoints import read_checkpoint
from compressors.training.divergence import suspicious_rows
from compressors.training.loop import Training
from compressors.units.batches import UnitBatches
from compressors.units.frame_features import aligned_mfcc
from compressors.units.labels import FrameUnits
from tests.helpers.method_checks import PowerCut

SMOKE_SHAPE = PRESETS["smoke"].shape.upstream_config()


def _config(**changes: Any) -> PretrainingConfig:
    return resolved("smoke", changes)


@pytest.fixture(scope="module")
def melodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of four sounds in a fixed cycle, so that a masked frame's neighbours give it away."""
    folder = tmp_path_factory.mktemp("melodies")
    random = np.random.default_rng(0)
    time_s = np.arange(4000) / 16_000
    sounds = [
        0.1 * np.sin(2 * np.pi * 300 * time_s),
        0.1 * np.sin(2 * np.pi * 2500 * time_s),
        0.1 * random.standard_normal(4000),
        0.1 * np.sign(np.sin(2 * np.pi * 120 * time_s)),
    ]
    for index in range(24):
        first = int(random.integers(4))
        signal_ = np.concatenate([sounds[(first + place) % 4] for place in range(12)])
        soundfile.write(folder / f"{index:02d}.wav", signal_ + 0.002 * random.standard_normal(len(signal_)), 16_000)
    return folder


@pytest.fixture
def data_file(melodies: Path, tmp_path: Path) -> Path:
    path = tmp_path / "melodies.yaml"
    path.write_text(f"audio: {{layout: folder, root: {melodies}}}\n")
    return path


class TestLearning:
    @pytest.mark.slow
    def test_masked_units_of_held_out_audio_are_guessed_far_above_chance_in_both_iterations(
        self, melodies: Path, tmp_path: Path
    ) -> None:
        stage = {"updates": 250, "warmup_updates": 25, "learning_rate": 4e-3}
        first = {**stage, "predictions": [{"units": "mfcc", "num_units": 6, "layer": 2}]}
        second = {**stage, "predictions": [{"units": "hidden", "hidden_layer": 2, "num_units": 6, "layer": 2}]}
        config = _config(iterations=[first, second], seconds_per_batch=8.0, log_updates=50, checkpoint_updates=500)
        pretraining = Pretraining(config, AudioSource(root=melodies), tmp_path, Context())
        pretraining.run()
        for rows in pretraining.figures.values():
            (row,) = rows
            assert row["masked_accuracy"] > 1.5 * row["chance"], row
            assert row["accuracy_without_mask"] > 2 * row["chance"], row
            assert 2 < row["perplexity"] <= 6


class TestFolder:
    def test_is_a_model_with_its_curve_figures_and_origin(self, data_file: Path, tmp_path: Path) -> None:
        out = tmp_path / "model"
        figures = pretrain_into(out, "smoke", str(data_file), [], seed=3, device="cpu")
        assert [(row["iteration"], row["units"]) for row in figures] == [
            ("iteration-1", "mfcc"),
            ("iteration-2", "hidden"),
        ]
        model = load_upstream(out)
        assert model.config == SMOKE_SHAPE
        provenance = read_manifest(out).provenance
        assert provenance["supervision"] == "self-supervised"
        assert provenance["seed"] == 3
        assert provenance["recipe"] == PRESETS["smoke"].model_dump(mode="json")
        assert provenance["held_out"] == json.loads((out / "held_out.json").read_text())
        with (out / "training.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["stage"], row["update"]) for row in rows] == [
            (f"iteration-{number}", str(update)) for number in (1, 2) for update in (2, 4, 6, 8)
        ]
        assert {"masked_accuracy", "unmasked_accuracy", "gradient_norm"} <= rows[0].keys()
        assert sorted(path.name for path in tmp_path.iterdir()) == [".model.lock", "melodies.yaml", "model"]
        assert pretrain_into(out, "smoke", str(data_file), [], seed=3, device="cpu") == figures
        with pytest.raises(UserError, match=r"holds another model .its seed differs"):
            pretrain_into(out, "smoke", str(data_file), [], seed=4, device="cpu")

    @pytest.mark.slow
    def test_after_kill_9_it_ends_in_the_same_curve_and_model(self, data_file: Path, tmp_path: Path) -> None:
        settings = ["checkpoint_updates=4", "log_updates=1", "mixing_probability=0.5", "noise_probability=0.5"]
        settings += ["iterations.0.updates=60", "shape.dropout.hidden=0.1"]
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        pretrain_into(whole, "smoke", str(data_file), settings, seed=0, device="cpu")
        command = [str(Path(sys.executable).with_name("bench")), "pretrain", "--preset", "smoke"]
        command += ["--data", str(data_file), "--out", str(killed), "--device", "cpu"]
        command += [part for setting in settings for part in ("--set", setting)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        checkpoint = tmp_path / ".killed.work" / "iteration-1.ckpt"
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert checkpoint.exists()
        assert not killed.exists()
        pretrain_into(killed, "smoke", str(data_file), settings, seed=0, device="cpu")
        assert (killed / "training.csv").read_text() == (whole / "training.csv").read_text()
        assert weights_hash(load_upstream(killed)) == weights_hash(load_upstream(whole))

    def test_a_diverging_training_stops_and_keeps_the_checkpoint_from_before(
        self, data_file: Path, tmp_path: Path
    ) -> None:
        settings = ["iterations.0.updates=60", "iterations.0.learning_rate=30.0", "iterations.0.warmup_updates=59"]
        settings += ["max_loss_ratio=1.1", "log_updates=1", "checkpoint_updates=1"]
        with pytest.raises(UserError, match=r"^Expected the loss to fall. Found stage iteration-1 diverging: loss"):
            pretrain_into(tmp_path / "model", "smoke", str(data_file), settings, seed=0, device="cpu")
        assert not (tmp_path / "model").exists()
        kept = torch.load(tmp_path / ".model.work" / "iteration-1.ckpt", weights_only=True)
        (rows,) = (state["rows"] for state in kept["callbacks"].values() if "rows" in state)
        assert 0 < kept["global_step"] == len(rows) < 60
        assert suspicious_rows(rows, 1.1) == 0


class TestLogMel:
    """The first training of the extractor."""

    def test_bands_follow_frequency_and_ignore_the_level(self) -> None:
        time_s = torch.arange(16_000) / 16_000
        tones = torch.stack([torch.sin(2 * torch.pi * hertz * time_s) for hertz in (300, 1000, 3000)])
        tones += 0.01 * torch.randn(tones.shape, generator=torch.Generator().manual_seed(0))
        bands = LogMel(320, 400)(tones)
        assert bands.shape == (3, 49, NUM_BANDS)
        low, middle, high = bands.mean(1).argmax(1).tolist()
        assert low < middle < high
        torch.testing.assert_close(LogMel(320, 400)(0.1 * tones), bands, atol=1e-3, rtol=0)

    def test_iterations_start_from_its_extractor_and_can_leave_it_as_it_is(
        self, melodies: Path, tmp_path: Path
    ) -> None:
        config = _config(
            log_mel={"updates": 30, "warmup_updates": 2, "learning_rate": 3e-3}, extractor_gradient_scale=0.0
        )
        pretraining = Pretraining(config, AudioSource(root=melodies), tmp_path, Context())
        model = pretraining.run()
        trained = read_checkpoint(tmp_path / "log-mel.ckpt")["state_dict"]
        for name, value in model.feature_extractor.state_dict().items():
            assert value.equal(trained[f"objective.extractor.{name}"]), name
        rows = list(csv.DictReader((tmp_path / "beside" / "training.csv").open(newline="")))
        losses = [float(row["loss"]) for row in rows if row["stage"] == "log-mel"]
        assert losses[-1] < 0.9 * losses[0]
        assert {row["stage"] for row in rows} == {"log-mel", "iteration-1", "iteration-2"}

    def test_a_call_that_only_loads_it_starts_from_the_same_weights(self, melodies: Path, tmp_path: Path) -> None:
        config = _config(log_mel={"updates": 2, "warmup_updates": 1, "learning_rate": 3e-3})
        started: list[dict[str, torch.Tensor]] = []

        def only_log_mel(training: Training, name: str, stage: Any, objective: Any, batches: Any) -> None:
            if name == "log-mel":
                train(training, name, stage, objective, batches)
            else:
                started.append({key: value.clone() for key, value in objective.state_dict().items()})
                raise PowerCut

        train = Training.run
        for _ in range(2):
            with mock.patch.object(Training, "run", only_log_mel), pytest.raises(PowerCut):
                Pretraining(config, AudioSource(root=melodies), tmp_path, Context()).run()
        first, resumed = started
        assert [key for key, value in first.items() if not value.equal(resumed[key])] == []


class TestDivergence:
    def _rows(self, losses: list[float], norms: list[float] | None = None) -> list[dict[str, float]]:
        norms = norms or [2.0] * len(losses)
        return [{"loss": loss, "gradient_norm": norm} for loss, norm in zip(losses, norms, strict=True)]

    def test_counts_losses_far_above_the_lowest(self) -> None:
        assert suspicious_rows(self._rows([5, 4, 3, 3.1, 2.9]), 1.3) == 0
        assert suspicious_rows(self._rows([5, 4, 3, 4.0, 4.1]), 1.3) == 2
        assert suspicious_rows(self._rows([5, 4, 3, 4.0, 3.5]), 1.3) == 0
        assert suspicious_rows([], 1.3) == 0

    def test_counts_gradient_norms_far_above_the_usual(self) -> None:
        assert suspicious_rows(self._rows([3.0] * 7, [9, 2, 2, 2, 2, 100, 100]), 1.3) == 2
        assert suspicious_rows(self._rows([3.0] * 6, [9, 2, 2, 2, 2, 20]), 1.3) == 0
        assert suspicious_rows(self._rows([3.0] * 2, [2, 100]), 1.3) == 0


class TestBatches:
    def test_units_belong_to_what_is_heard(self, melodies: Path) -> None:
        """Without augmentation, a crop's first MFCC is that of its frames in the whole file."""
        files = read_headers(find_audio(melodies))
        first = {file.path: aligned_mfcc(_waveform(file), SMOKE_SHAPE)[:, 0] for file in files}
        units = FrameUnits({path: (values * 10).astype(np.int16) for path, values in first.items()}, 10_000)
        batches = UnitBatches(files, [units, units], SMOKE_SHAPE, _config(), seed=0)
        number, waveforms, labels = batches[5]
        assert number == 5
        assert labels.shape == (len(waveforms), 2, SMOKE_SHAPE.num_frames(waveforms.shape[1]))
        for waveform, label in zip(waveforms, labels, strict=True):
            heard = aligned_mfcc(waveform, SMOKE_SHAPE)[:, 0] * 10
            np.testing.assert_allclose(label[0].numpy(), heard, atol=1.01)

    def test_depend_on_seed_and_number_alone(self, melodies: Path) -> None:
        files = read_headers(find_audio(melodies))
        units = FrameUnits({file.path: np.zeros(400, np.int16) for file in files}, 1)
        config = _config(mixing_probability=0.5, noise_probability=0.5)
        one, same, other = (
            UnitBatches(files, [units], SMOKE_SHAPE, config, seed, augmentation=config) for seed in (1, 1, 2)
        )
        assert one[3].waveforms.equal(same[3].waveforms)
        assert not one[3].waveforms.equal(other[3].waveforms)
        assert not one[3].waveforms.equal(one[4].waveforms)

    def test_augmentation_changes_as_many_as_asked_by_as_much_as_said(self) -> None:
        random = np.random.default_rng(0)
        clean = _tensor(0.1 * random.standard_normal((400, 1600)))
        for change in (mixed, noisy, reverberated):
            changed = change(clean, 0.25, np.random.default_rng(1))
            share = (changed != clean).any(1).float().mean().item()
            assert share == pytest.approx(0.25, abs=0.06), change
            ratio = clean.square().mean(1) / (changed - clean).square().mean(1).clamp(min=1e-12)
            assert ratio[(changed != clean).any(1)].log10().min().item() * 10 > -6
        assert (mixed(clean, 1.0, random)[:, :].ne(clean).float().mean(1) <= 0.5).all()

    def test_silence_stays_silent(self) -> None:
        silence = _tensor(np.zeros((4, 1600)))
        assert mixed(silence, 1.0, np.random.default_rng(0)).equal(silence)
        assert noisy(silence, 1.0, np.random.default_rng(0)).equal(silence)
        assert reverberated(silence, 1.0, np.random.default_rng(0)).equal(silence)

    def test_a_microphone_changes_the_spectrum_by_gains_of_the_given_deviation(self) -> None:
        clean = _tensor(np.random.default_rng(0).standard_normal((200, 1600)))
        assert equalised(clean, 0.0, np.random.default_rng(1)).equal(clean)
        recorded = equalised(clean, 4.0, np.random.default_rng(1))
        at_1_khz = slice(95, 106)
        power, changed = (torch.fft.rfft(each).abs().square()[:, at_1_khz].sum(1) for each in (clean, recorded))
        gains_db = 10 * (changed / power).log10()
        assert gains_db.std().item() == pytest.approx(4.0, abs=0.8)
        assert gains_db.mean().item() == pytest.approx(0.0, abs=1.0)

    def test_a_room_adds_energy_after_a_sound_alone(self) -> None:
        click = torch.zeros(20, 16_000)
        click[:, 4000] = 1.0
        echoes = reverberated(click, 1.0, np.random.default_rng(0))
        assert echoes[:, :3999].abs().max().item() < 1e-5
        assert echoes[:, 4000].sub(1).abs().max().item() < 1e-5
        early, late = (echoes[:, first : first + 800].square().sum() for first in (4001, 8000))
        assert early > 10 * late > 0


def _waveform(file: AudioFile) -> torch.Tensor:
    return _tensor(soundfile.read(file.path, dtype="float32")[0])


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


class TestHeldOut:
    def _files(self, *paths: str) -> list[AudioFile]:
        return [AudioFile(Path("/corpus") / path, 16_000, 16_000) for path in paths]

    def test_whole_speakers_where_folders_tell_them(self) -> None:
        """As in LibriSpeech: split, speaker, chapter."""
        files = self._files(
            *(
                f"train-{split}/{speaker}/{chapter}/{index}.flac"
                for split in ("a", "b")
                for speaker in range(20)
                for chapter in range(2)
                for index in range(3)
            )
        )
        train, held_out = split_held_out(files, 12.0, seed=0)
        speakers = [{file.path.parts[2:4] for file in part} for part in (train, held_out)]
        assert not speakers[0] & speakers[1]
        assert len(speakers[1]) == 2
        assert len(train) + len(held_out) == len(files)
        assert split_held_out(files, 12.0, seed=1)[1] != held_out

    def test_single_files_of_a_flat_folder_and_a_tenth_at_most(self) -> None:
        files = self._files(*(f"{index}.wav" for index in range(20)))
        train, held_out = split_held_out(files, 100.0, seed=0)
        assert (len(train), len(held_out)) == (18, 2)


class TestRecipe:
    def test_base_is_hubert_base(self) -> None:
        """HuBERT section IV-B, table I, and the reference recipe ``hubert_base_librispeech``."""
        config = BASE.shape.upstream_config()
        published = SHAPES["hubert_base"]
        assert config.model_copy(update={"dropout": published.dropout}) == published
        assert config.dropout.layer == 0.05
        first, second = BASE.iterations
        assert (first.updates, second.updates) == (250_000, 400_000)
        assert all(each.warmup_updates == 0.08 * each.updates for each in BASE.iterations)
        assert all(each.learning_rate == 5e-4 for each in BASE.iterations)
        assert [(each.predictions[0].units, each.predictions[0].num_units) for each in BASE.iterations] == [
            ("mfcc", 100),
            ("hidden", 500),
        ]
        assert second.predictions[0].hidden_layer == 6
        assert BASE.seconds_per_batch * BASE.accumulate_batches == 87.5 * 32
        assert (BASE.mask_span_frames, BASE.mask_start_probability, BASE.unmasked_loss_weight) == (10, 0.08, 0.0)
        assert (BASE.feature_penalty_weight, BASE.extractor_gradient_scale, BASE.projection_dim) == (10.0, 0.1, 256)

    def test_mini_makes_the_embedded_teachers_shape_within_ten_megabytes(self) -> None:
        shape = MINI.shape.upstream_config()
        assert shape.num_layers == 12
        assert shape.extractor_norm == "group_norm"
        assert not shape.layer_norm_first
        assert 4 * sum(value.numel() for value in UpstreamModel(shape).state_dict().values()) <= 10_000_000

    def test_says_what_it_was_supervised_by(self) -> None:
        assert supervision(BASE) == "self-supervised"
        assert supervision(MINI) == "phone-supervised and speaker-supervised"

    def test_mini_is_how_the_embedded_teacher_was_made(self) -> None:
        recipe = read_manifest(MINI_HUBERT_FOLDER).provenance["recipe"]
        assert PretrainingConfig.model_validate(recipe) == MINI


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"shape.dimm": 3}, r"unknown key 'shape.dimm'. Did you mean 'dim'"),
            ({"shape.dim": 33}, r"dim 33 is not a multiple of heads 2"),
            ({"iterations.0.predictions.0.layer": 9}, r"there is no layer 9 in a model of 2"),
            ({"iterations.0.predictions.0.units": "hidden"}, r"hidden_layer None does not go with units hidden"),
            ({"iterations.0.predictions.0.units": "mfccs"}, r"iterations.0.predictions.0.units"),
            ({"iterations.0.updates": 1}, r"warmup_updates 2 must be below updates 1"),
        ],
    )
    def test_a_wrong_setting_is_one_line(self, changes: dict[str, Any], line: str) -> None:
        with pytest.raises(UserError, match=line) as caught:
            _config(**changes)
        assert "\n" not in str(caught.value)

    def test_the_first_iteration_has_no_hidden_states(self) -> None:
        iteration = PRESETS["smoke"].iterations[1].model_dump(mode="json")
        with pytest.raises(UserError, match=r"units hidden.*first iteration"):
            _config(iterations=[iteration])

    def test_an_unknown_preset_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(UserError, match=r"Unknown preset 'minni' of `bench pretrain`. Did you mean 'mini'"):
            resolved("minni", {})

    def test_phones_that_nobody_has_written_down(self, data_file: Path, tmp_path: Path) -> None:
        settings = ["iterations.0.predictions.0.units=phones"]
        with pytest.raises(UserError, match=r"^Expected the phones of the audio in .*phones.jsonl for units=phones"):
            pretrain_into(tmp_path / "model", "smoke", str(data_file), settings, seed=0, device="cpu")

    def test_half_precision_without_a_gpu(self, data_file: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"^Expected precision=fp32 or .* on this CPU. Found precision=fp16"):
            pretrain_into(tmp_path / "model", "smoke", str(data_file), ["precision=fp16"], seed=0, device="cpu")
