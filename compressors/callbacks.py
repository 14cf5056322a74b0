"""What happens beside the updates of a stage: ``training.csv``, checkpoints, the progress bar."""

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
from tqdm import tqdm

from bench.errors import TrainingError
from bench.files import replacing
from compressors.audio import CropBatch, CropBatches
from compressors.divergence import ROWS, suspicious_rows
from compressors.pretraining.batches import UnitBatches
from compressors.stages import TrainingConfig

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]
"""Of ``training.csv``."""


class History(Callback):
    """``training.csv``: one row every few updates, the mean over them, with the last one's gradient norm.

    Rows are part of the checkpoint, so that a resumed stage has each row once.
    """

    def __init__(self, path: Path, stage: str, config: TrainingConfig, earlier_stages: Rows) -> None:
        self.path = path
        self.stage = stage
        self.config = config
        self.earlier_stages = earlier_stages
        self.rows: Rows = []
        self.sums: dict[str, Tensor] = {}
        """Over the finished updates since the last row, of the batches of all processes."""
        self.count = 0
        self.pending: list[Tensor] = []
        """What this process logged since the last update, (keys,) each."""
        self.first_wrong: Tensor | None = None
        """Number of this process's first batch whose loss is not finite, or -1; a scalar on the device, so that no step
        waits for it."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows, "sums": self.sums, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows, self.sums, self.count = state_dict["rows"], state_dict["sums"], state_dict["count"]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: CropBatch,
        batch_idx: int,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Add up what the step logged; write a row where one is due."""
        logged: dict[str, Tensor] = outputs["logged"]
        self.pending.append(torch.stack([value.float() for value in logged.values()]))
        so_far = torch.full_like(logged["loss"], -1, dtype=torch.long) if self.first_wrong is None else self.first_wrong
        self.first_wrong = torch.where((so_far < 0) & ~logged["loss"].isfinite(), batch.number, so_far)
        if not update_ends(trainer, batch):
            return
        self._add_update(list(logged), trainer)
        update = trainer.global_step
        if update % self.config.log_updates == 0 or update == trainer.max_steps:
            self._add_row(update, pl_module.last_update(), trainer)
            self._require_learning(is_last=update == trainer.max_steps)

    def write(self) -> None:
        """Write all rows so far."""
        _write_rows(self.path, [*self.earlier_stages, *self.rows])

    @property
    def suspicious_rows(self) -> int:
        """The latest rows on end that look like divergence."""
        ratio = self.config.max_loss_ratio
        return 0 if ratio is None else suspicious_rows(self.rows, ratio)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002 - lightning's signature
        """Let no checkpoint be written of a stage that has gone wrong."""
        sums = {key: value.item() for key, value in self.sums.items()}
        self._require_finite(sums | pl_module.last_update(), trainer)

    def _add_update(self, keys: Sequence[str], trainer: Trainer) -> None:
        """Add what all processes logged, so that each of them sees the same and judges alike."""
        totals = cast("Tensor", trainer.strategy.reduce(torch.stack(self.pending).sum(0), reduce_op="sum"))
        self.sums = {key: value + self.sums.get(key, 0.0) for key, value in zip(keys, totals, strict=True)}
        self.count += len(self.pending) * trainer.world_size
        self.pending = []

    def _add_row(self, update: int, last_update: dict[str, float], trainer: Trainer) -> None:
        row = {key: value.item() / self.count for key, value in self.sums.items()} | last_update
        self._require_finite(row, trainer)
        self.rows.append({"stage": self.stage, "update": update, **row})
        self.sums, self.count = {}, 0
        if trainer.is_global_zero:
            self.write()
            # The loss of a stage that prunes is mostly its regulariser, which rises with the target.
            own = f" (distillation {row['distillation']:.4f})" if "distillation" in row else ""
            logger.info("stage %s, update %d: loss %.4f%s", self.stage, update, row["loss"], own)

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
        if self.config.precision == "fp16" and wrong == ["gradient_norm"]:
            return  # The loss scaler skips such an update.
        if wrong:
            raise TrainingError(
                f"Expected finite numbers. Found {', '.join(wrong)} infinite or NaN in stage {self.stage}, at update "
                f"{trainer.global_step} or shortly before{self._first_wrong_batch(trainer)}. The last checkpoint is "
                "kept. Lower the learning rate, or use another precision."
            )

    def _first_wrong_batch(self, trainer: Trainer) -> str:
        """Name the batch whose loss was the first that is not finite, if one was."""
        number = -1 if self.first_wrong is None else int(self.first_wrong)
        if number < 0:
            return ""
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        if not isinstance(dataset, CropBatches | UnitBatches):
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


class Checkpoints(Callback):
    """One file a stage, written over every few updates and at the end, but not while the stage may be diverging."""

    def __init__(self, path: Path, every_updates: int, history: History) -> None:
        self.path = path
        self.every_updates = every_updates
        self.history = history

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002 - lightning's signature
        outputs: Any,  # noqa: ARG002 - lightning's signature
        batch: CropBatch,
        batch_idx: int,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Save where due."""
        update = trainer.global_step
        is_due = update % self.every_updates == 0 or update == trainer.max_steps
        if is_due and update_ends(trainer, batch) and not self.history.suspicious_rows:
            trainer.save_checkpoint(self.path)


class ProgressBar(Callback):
    """Updates on standard error, where that is a terminal."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002 - lightning's signature
        """Open the bar."""
        self.bar = tqdm(
            desc=self.stage,
            total=trainer.max_steps,
            initial=trainer.global_step,
            unit="update",
            disable=None if trainer.is_global_zero else True,
        )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002 - lightning's signature
        outputs: Any,
        batch: CropBatch,
        batch_idx: int,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Move on by an update."""
        if update_ends(trainer, batch) and not self.bar.disable:
            self.bar.set_postfix(loss=f"{outputs['logged']['loss'].item():.3f}", refresh=False)
            self.bar.update()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002 - lightning's signature
        """Close the bar."""
        self.bar.close()


def update_ends(trainer: Trainer, batch: CropBatch) -> bool:
    """Tell whether the optimiser has just made an update, rather than gathered another gradient for it."""
    number_here = batch.number // trainer.world_size
    return (number_here + 1) % trainer.accumulate_grad_batches == 0
