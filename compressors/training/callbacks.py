"""Callbacks of a stage: checkpoints and the progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from bench.progress import Bar, bars_are_drawn
from bench.stopping import is_stop_requested, stop
from compressors.training.crops import CropBatch
from compressors.training.history import History, update_ends

UPDATES_BETWEEN_QUESTIONS = 5
"""Updates after which several processes agree whether one of them was asked to stop."""


class Checkpoints(Callback):
    """Saves one checkpoint per stage every few updates, at the end, and before a requested stop, see `bench.stopping`.

    None is saved while the stage may be diverging.
    """

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
        """Save if due."""
        if not update_ends(trainer, batch):
            return
        update = trainer.global_step
        stops = _stop(trainer)
        is_due = update % self.every_updates == 0 or update == trainer.max_steps or stops
        if is_due and not self.history.suspicious_rows:
            trainer.save_checkpoint(self.path)
        if stops:
            stop()


def _stop(trainer: Trainer) -> bool:
    """Return whether to stop after this update. Processes that train together save and stop together."""
    if trainer.world_size == 1:
        return is_stop_requested()
    # They must ask each other, which makes a GPU wait.
    asks = trainer.global_step % UPDATES_BETWEEN_QUESTIONS == 0
    return asks and bool(trainer.strategy.reduce_boolean_decision(is_stop_requested(), all=False))


class ProgressBar(Callback):
    """A bar of updates on standard error, if that is a terminal."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002 - lightning's signature
        """Open the bar."""
        self.bar = Bar(
            desc=self.stage,
            total=trainer.max_steps,
            initial=trainer.global_step,
            unit="update",
            disable=not (trainer.is_global_zero and bars_are_drawn()),
        )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002 - lightning's signature
        outputs: Any,
        batch: CropBatch,
        batch_idx: int,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Advance by one update."""
        if update_ends(trainer, batch) and not self.bar.disable:
            self.bar.set_postfix(loss=f"{outputs['logged']['loss'].item():.3f}", refresh=False)
            self.bar.update()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002 - lightning's signature
        """Close the bar."""
        self.bar.close()
