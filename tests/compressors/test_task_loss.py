"""Pruning with the loss of a task: batches, gradients, resuming, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from bench.contracts import AudioSource, Context, TaskLoss, Utterance
from bench.errors import UserError
from bench.upstream.checkpoint import weights_hash
from compressors.dphubert.compressor import DPHuBERT
from compressors.objectives.student_objective import student_objective
from compressors.objectives.task_aware import task_aware
from compressors.training.task_batches import packed
from tasks.heads.task_loss import label_loss, sequence_loss
from tests.helpers.method_checks import assert_interruptions_change_nothing, tiny_teacher


def _config(**changes: Any) -> Any:
    smoke = DPHuBERT.presets["smoke"]
    fields = {name: value for name, value in smoke.model_dump().items() if name in smoke.model_fields_set}
    given = {"task_loss": "ks", "checkpoint_updates": 2, "sparsity": 0.6} | changes
    return DPHuBERT.config_type.model_validate(fields | given)


def _table(speech_folder: Path) -> pd.DataFrame:
    paths = sorted(speech_folder.rglob("*.wav")) or sorted(speech_folder.rglob("*.flac"))
    return pd.DataFrame(
        {"wav_path": [str(path) for path in paths], "num_samples": [soundfile.info(path).frames for path in paths]}
    )


@pytest.fixture
def losses(speech_folder: Path) -> dict[str, TaskLoss]:
    table = _table(speech_folder)
    labels = [(str(index % 2),) for index in range(len(table))]
    return {
        "ks": label_loss("ks", table, labels),
        "asr": sequence_loss("asr", table, ["AB" * (1 + index % 3) for index in range(len(table))]),
    }


class TestCompress:
    @pytest.mark.parametrize(
        "changes",
        [{"task_loss": "ks"}, {"task_loss": "asr", "objective": "both"}, {"task_loss": "ks", "sparsity": [0.4, 0.6]}],
        ids=str,
    )
    def test_makes_a_smaller_model_with_a_head(
        self, speech_folder: Path, tmp_path: Path, losses: dict[str, TaskLoss], changes: dict[str, Any]
    ) -> None:
        compressor, audio = DPHuBERT(_config(**changes)), AudioSource(root=speech_folder)
        context = Context(task_losses=losses)
        compressor.check(tiny_teacher(), audio, context)
        models = compressor.compress(tiny_teacher(), audio, tmp_path, context)
        assert set(models) == set(compressor.target_sparsities())
        for model in models:
            beside = tmp_path / "beside" / model
            assert "mix.weights" in load_file(beside / "task_head.safetensors")
            with (beside / "training.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert all(float(row["task_loss"]) > 0 for row in rows)

    def test_the_task_changes_what_is_kept(
        self, speech_folder: Path, tmp_path: Path, losses: dict[str, TaskLoss]
    ) -> None:
        hashes = set()
        for number, changes in enumerate(({"task_loss": None}, {"task_weight": 1.0}, {"task_weight": 10.0})):
            models = DPHuBERT(_config(**changes)).compress(
                tiny_teacher(), AudioSource(root=speech_folder), tmp_path / str(number), Context(task_losses=losses)
            )
            hashes.add(weights_hash(models["dphubert"]))
        assert len(hashes) == 3

    def test_interrupted_it_ends_in_the_same_model(
        self, speech_folder: Path, tmp_path: Path, losses: dict[str, TaskLoss]
    ) -> None:
        compressor = DPHuBERT(_config())
        assert_interruptions_change_nothing(compressor, ("joint", "final"), speech_folder, tmp_path, task_losses=losses)

    def test_other_labels_are_other_work(
        self, speech_folder: Path, tmp_path: Path, losses: dict[str, TaskLoss]
    ) -> None:
        compressor, audio = DPHuBERT(_config()), AudioSource(root=speech_folder)
        compressor.compress(tiny_teacher(), audio, tmp_path, Context(task_losses=losses))
        table = _table(speech_folder)
        other = {"ks": label_loss("ks", table, [("same",)] * len(table))}
        with pytest.raises(UserError, match="task differ"):
            compressor.compress(tiny_teacher(), audio, tmp_path, Context(task_losses=other))


class TestObjective:
    def test_the_loss_is_the_weighted_sum_and_reaches_the_student(self, losses: dict[str, TaskLoss]) -> None:
        teacher, student, config = tiny_teacher(), tiny_teacher(1), _config()
        own = student_objective(student, teacher, config, "cpu")
        objective = task_aware(own, losses["ks"], weight=0.3, learning_rate_scale=10.0)
        waveforms, lengths = torch.randn(2, 4000), torch.tensor([4000, 3000])
        parts = objective((torch.randn(1, 4000),), waveforms, lengths, torch.tensor([[0], [1]]), 0)
        expected = parts["l1"] + parts["cosine"] + 0.3 * parts["task_loss"]
        torch.testing.assert_close(parts["loss"], expected)
        parts["task_loss"].backward()
        assert all(weight.grad is not None for weight in student.layers[0].parameters())
        rates = [group["lr"] for group in objective.parameter_groups(1e-3)]
        assert rates == [1e-3, pytest.approx(1e-2)]

    def test_without_a_task_nothing_changes(self) -> None:
        own = student_objective(tiny_teacher(), tiny_teacher(), _config(), "cpu")
        assert task_aware(own, None, weight=1.0, learning_rate_scale=1.0) is own


class TestBatches:
    def test_are_whole_utterances_of_similar_length(self) -> None:
        lengths = [16_000, 48_000, 8_000, 16_000, 100, 90_000]
        utterances = [Utterance(Path(f"{index}.wav"), 0, length) for index, length in enumerate(lengths)]
        assert packed(utterances, 3.0, 400) == [[2, 0, 3], [1]]

    def test_too_short_a_batch_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"at most 0.5 s.*longest has 2.0 s. Raise task_seconds_per_batch"):
            packed([Utterance(Path("a.wav"), 0, 32_000)], 0.5, 400)


class TestCheck:
    def test_a_task_that_nobody_provides_is_refused(self, speech_folder: Path) -> None:
        with pytest.raises(UserError, match="task_loss=ks"):
            DPHuBERT(_config()).check(tiny_teacher(), AudioSource(root=speech_folder), Context())

    def test_settings_of_no_task_are_not_stored(self) -> None:
        assert not {"task_weight", "task_seconds_per_batch"} & set(_config(task_loss=None).model_dump())
        assert DPHuBERT(_config()).tasks_learned() == ("ks",)
