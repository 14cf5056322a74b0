"""Losses and gradients that are not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import TrainingError, UserError
from compressors.training.crops import CropBatches
from compressors.training.loop import Training
from compressors.training.seeds import derived_seed
from tests.helpers.small_training import STAGE, Noisy, history_rows


class Overflowing(Noisy):
    """Its gradients overflow at some updates."""

    def __init__(self, *updates: int, fails_at: int | None = None) -> None:
        super().__init__(fails_at)
        self.updates = updates

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
        parts = super().forward(waveforms, update)
        factor = float("inf") if update in self.updates else 1.0
        return parts | {"loss": parts["loss"].float() * factor}


class TestWrongNumbers:
    stage = STAGE

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
        rows = history_rows(half.history)
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
