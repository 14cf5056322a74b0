"""``training.csv``: what a stage logs, and the checks that stop a stage that goes wrong."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from bench.errors import TrainingError
from bench.files.atomic import replacing
from bench.progress import TimeLeft, report
from compressors.settings import TrainingConfig
from compressors.training.crops import CropBatch, HasCrops
from compressors.training.divergence import ROWS, suspicious_rows

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]
"""Rows of ``training.csv``."""

CHECKPOINTED = ("rows", "sums", "count", "gradient_norm", "skipped", "skipped_in_a_row", "skipped_in_all")
"""Attributes of a history that checkpoints contain."""

MAX_SKIPPED_IN_A_ROW = 10


class History(Callback):
    """Writes ``training.csv``: one row every few updates, with their means and the gradient norm of the last one.

    Checkpoints contain the rows, so a resumed stage has each row once.
    """

    def __init__(self, path: Path, stage: str, config: TrainingConfig, earlier_stages: Rows) -> None:
        self.path = path
        self.stage = stage
        self.config = config
        self.earlier_stages = earlier_stages
        self.rows: Rows = []
        self.sums: dict[str, Tensor] = {}
        """Sums over the finished updates since the last row, and over the batches of all processes."""
        self.count = 0
        self.pending: list[Tensor] = []
        """Values that this process logged since the last update, (keys,) each."""
        self.gradient_norm = torch.zeros(())
        """Gradient norm of the last update that was not skipped."""
        self.skipped = 0
        """Updates since the last row that fp16's loss scaler skipped because their gradients overflowed."""
        self.skipped_in_a_row = 0
        self.skipped_in_all = 0
        self.first_wrong: Tensor | None = None
        """Number of this process's first batch with a loss that is not finite, or -1. It is a scalar on the device, so
        that no step waits for it. In fp16 it counts from the last update that was not skipped."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {name: getattr(self, name) for name in CHECKPOINTED}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        for name in CHECKPOINTED:
            setattr(self, name, state_dict[name])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002 - lightning's signature
        """Start to estimate the time left."""
        self.time_left = TimeLeft(trainer.max_steps, trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: CropBatch,
        batch_idx: int,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Add up the values that the step logged, and write a row if one is due."""
        logged: dict[str, Tensor] = outputs["logged"]
        self.pending.append(torch.stack([value.float() for value in logged.values()]))
        so_far = torch.full_like(logged["loss"], -1, dtype=torch.long) if self.first_wrong is None else self.first_wrong
        self.first_wrong = torch.where((so_far < 0) & ~logged["loss"].isfinite(), batch.number, so_far)
        if not update_ends(trainer, batch):
            return
        update = trainer.global_step
        # This does not wait for the device: the loss scaler has read the same number.
        if self.config.precision == "fp16" and not pl_module.gradient_norm.isfinite():
            self._skip(batch, trainer)
        else:
            self._add_update(list(logged), pl_module.gradient_norm, trainer)
        report(f"stage {self.stage}", update, trainer.max_steps, "updates", self.time_left.after(update))
        if update % self.config.log_updates == 0 or update == trainer.max_steps:
            self._add_row(update, pl_module.last_learning_rate(), trainer)
            self._require_learning(is_last=update == trainer.max_steps)

    def write(self) -> None:
        """Write all rows so far."""
        _write_rows(self.path, [*self.earlier_stages, *self.rows])

    @property
    def suspicious_rows(self) -> int:
        """Number of the latest consecutive rows that look like divergence."""
        ratio = self.config.max_loss_ratio
        return 0 if ratio is None else suspicious_rows(self.rows, ratio)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002 - lightning's signature
        """Refuse to write a checkpoint of a stage whose numbers are not finite."""
        sums = {key: value.item() for key, value in self.sums.items()}
        self._require_finite(sums | {"gradient_norm": self.gradient_norm.item()}, trainer)

    def _skip(self, batch: CropBatch, trainer: Trainer) -> None:
        """Count an update that the loss scaler skipped."""
        self.pending = []
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.skipped_in_all += 1
        if self.first_wrong is None or self.first_wrong < 0:
            self.first_wrong = torch.tensor(batch.number)
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"Expected finite gradients. Found {self.skipped_in_a_row} updates in a row that overflow in fp16, in "
                f"stage {self.stage}, at update {trainer.global_step}{self._first_wrong_batch(trainer)}. The last "
                "checkpoint is kept. Lower the learning rate, or use another precision."
            )

    def _add_update(self, keys: Sequence[str], gradient_norm: Tensor, trainer: Trainer) -> None:
        """Add the values of all processes, so that each sees the same sums and decides alike."""
        totals = cast("Tensor", trainer.strategy.reduce(torch.stack(self.pending).sum(0), reduce_op="sum"))
        self.sums = {key: value + self.sums.get(key, 0.0) for key, value in zip(keys, totals, strict=True)}
        self.count += len(self.pending) * trainer.world_size
        self.pending = []
        self.gradient_norm = gradient_norm
        self.skipped_in_a_row = 0
        if self.config.precision == "fp16":
            self.first_wrong = None

    def _add_row(self, update: int, learning_rate: float, trainer: Trainer) -> None:
        if self.skipped and trainer.is_global_zero:
            logger.warning(
                "stage %s, update %d: %d of the last updates overflowed in fp16 and were skipped, %d in all",
                *(self.stage, update, self.skipped, self.skipped_in_all),
            )
        if not self.count:
            return  # All updates were skipped. The next row counts them.
        row = {key: value.item() / self.count for key, value in self.sums.items()}
        row |= {"gradient_norm": self.gradient_norm.item(), "learning_rate": learning_rate}
        self._require_finite(row, trainer)
        if self.config.precision == "fp16":
            row["skipped_updates"] = self.skipped
        self.rows.append({"stage": self.stage, "update": update, **row})
        self.sums, self.count, self.skipped = {}, 0, 0
        if trainer.is_global_zero:
            self.write()
            # Most of a pruning stage's loss is the regulariser, which rises with the target.
            own = f" (distillation {row['distillation']:.4f})" if "distillation" in row else ""
            left = self.time_left.after(update)
            logger.info("stage %s, update %d: loss %.4f%s%s", self.stage, update, row["loss"], own, left)

    def _require_learning(self, *, is_last: bool) -> None:
        if self.suspicious_rows >= (1 if is_last else ROWS):
            last, lowest = self.rows[-1], min(row["loss"] for row in self.rows)
            raise TrainingError(
                f"Expected the loss to fall. Found stage {self.stage} diverging: loss {last['loss']:.3f} after "
                f"{lowest:.3f}, gradient norm {last['gradient_norm']:.1f}, at update {last['update']}. The last "
                "checkpoint from before is kept. Lower the learning rate."
            )

    def _require_finite(self, values: dict[str, float], trainer: Trainer) -> None:
        wrong = [key for key, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(
                f"Expected finite numbers. Found {', '.join(wrong)} infinite or NaN in stage {self.stage}, at update "
                f"{trainer.global_step} or shortly before{self._first_wrong_batch(trainer)}. The last checkpoint is "
                "kept. Lower the learning rate, or use another precision."
            )

    def _first_wrong_batch(self, trainer: Trainer) -> str:
        """Name the first batch with a loss that is not finite, if there is one."""
        number = -1 if self.first_wrong is None else int(self.first_wrong)
        if number < 0:
            return ""
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        if not isinstance(dataset, HasCrops):
            return f", first in batch {number}"
        first, *others = (str(crop.file.path) for crop in dataset.crops(number))
        more = f" and {len(others)} more" if others else ""
        return f", first in batch {number} ({first}{more})"


def _write_rows(path: Path, rows: Rows) -> None:
    columns = dict.fromkeys(key for row in rows for key in row)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns))
        writer.writeheader()
        writer.writerows(rows)


def update_ends(trainer: Trainer, batch: CropBatch) -> bool:
    """Return whether ``batch`` was the last of its update."""
    number_here = batch.number // trainer.world_size
    return (number_here + 1) % trainer.accumulate_grad_batches == 0
