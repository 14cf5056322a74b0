"""The training loop, on lightning. A stage resumes from its last checkpoint and ends as if never interrupted.

The random numbers of an update depend only on the seed, the stage and the update's number.
"""

from __future__ import annotations

import itertools
import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from bench.audio.files import AudioFile
from bench.contracts import Context
from bench.upstream.matmul_precision import matmul_precision
from bench.workers.ranks import current_rank, from_first
from bench.workers.reader_errors import leave_signals_to_parent, plain_reader_errors
from bench.workers.worker_tensors import prepare_workers
from compressors.settings import StageConfig, TrainingConfig
from compressors.training.callbacks import Checkpoints, ProgressBar
from compressors.training.checkpoints import SealedCheckpointIO, clean_up, last_good, read_checkpoint
from compressors.training.crops import CropBatch, CropBatches
from compressors.training.history import History, Rows
from compressors.training.nodes import Ranks
from compressors.training.objective import Objective
from compressors.training.precision import attention_kernels, matmul_precision_on, optimizer_options, stage_precision
from compressors.training.seeds import derived_seed

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

logger = logging.getLogger(__name__)

MIXED: dict[str, Literal["bf16-mixed", "16-mixed"]] = {"bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Lightning's names of mixed precisions."""


@dataclass(frozen=True)
class Training:
    """What all stages of one compression share.

    Several processes may train together; see `bench.workers.ranks`. They share the ``accumulate_batches`` of each
    update, which is the same as with one process.
    """

    config: TrainingConfig
    files: Sequence[AudioFile]
    """Audio to train on."""
    workdir: Path
    """Folder of the checkpoints, the last two of each stage: ``<stage>.ckpt`` and ``<stage>.previous.ckpt``."""
    history: Path
    """Path of ``training.csv``, for all stages."""
    context: Context
    logged: dict[Path, dict[str, Rows]] = field(default_factory=dict)
    """Rows of each history by stage, for the stages that this call trained or found finished. They come from
    checkpoints, which have checksums, not from the CSV."""

    def run(
        self,
        name: str,
        stage: StageConfig,
        objective: Objective,
        batches: Callable[[int], Dataset[Any]] | None = None,
    ) -> None:
        """Train ``objective`` in place to the end of a stage. A finished stage is only loaded.

        Args:
            name: name of the stage.
            stage: length and learning rate of the stage.
            objective: what to minimise.
            batches: creates the endless dataset from the stage's seed. It yields named tuples of ``number`` and the
                inputs of ``objective``. By default crops of the files.

        Raises:
            UserError: the loss or its gradient is not finite, the training diverges, or audio is unreadable.
        """
        seed = derived_seed(self.context.seed, name)
        module = StageModule(objective, stage, seed)
        checkpoint = self.workdir / f"{name}.ckpt"
        history = History(self.history, name, self.config, self._earlier_rows(name))
        good = from_first(partial(_cleaned_up, checkpoint))
        finished = _load(good, module, history) if good else 0
        logger.info("stage %s: %d of %d updates are done", name, finished, stage.updates)
        if finished < stage.updates:
            self._train(module, history, checkpoint, good, finished, batches)
        elif current_rank().is_first:
            history.write()
        self.logged.setdefault(self.history, {})[name] = history.rows

    def keep(self, objective: Savable) -> None:
        """Store what an objective has learned besides its model, in the folder of files that go with the model."""
        if current_rank().is_first:
            objective.save(self.history.parent)

    def _earlier_rows(self, name: str) -> Rows:
        stages = self.logged.get(self.history, {})
        return [row for stage, rows in stages.items() if stage != name for row in rows]

    def _train(
        self,
        module: StageModule,
        history: History,
        checkpoint: Path,
        good: Path | None,
        finished: int,
        batches: Callable[[int], Dataset[Any]] | None,
    ) -> None:
        dataset = batches(module.seed) if batches else CropBatches(self.files, self.config, module.seed)
        precision = stage_precision(module.objective, self.config, self.context, self._device())
        matmuls = matmul_precision_on(self.config, self.context.device)
        module.precision = precision
        logger.info("stage %s: on %s in %s, float32 products in %s", history.stage, self._device(), precision, matmuls)
        kernels = attention_kernels(self._device(), precision)
        with _quiet(), _plain_errors(), plain_reader_errors(), matmul_precision(matmuls), kernels:
            trainer = self._trainer(history, module.stage, checkpoint, precision)
            first = finished * self.config.accumulate_batches + current_rank().number
            trainer.fit(module, self._loader(dataset, first), ckpt_path=good)

    def _device(self) -> torch.device:
        """Return this process's device."""
        if self.context.device == "cpu":
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())

    def _loader(self, dataset: Dataset[Any], first: int) -> DataLoader[Any]:
        prepare_workers(self.config.num_workers)
        return DataLoader(
            dataset,
            batch_size=None,
            # Starts at the checkpoint's position: lightning resumes its counters, not the data.
            sampler=itertools.count(first, current_rank().count),
            num_workers=self.config.num_workers,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=self.context.device == "cuda",
        )

    def _trainer(self, history: History, stage: StageConfig, checkpoint: Path, precision: str) -> Trainer:
        device, rank = self._device(), current_rank()
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1 if device.index is None else [device.index],
            num_nodes=rank.count,
            # Layer dropout, and layers above the last prediction, leave some weights without a gradient.
            strategy=DDPStrategy(find_unused_parameters=True) if rank.count > 1 else "auto",
            max_steps=stage.updates,
            accumulate_grad_batches=self.config.accumulate_batches // rank.count,
            gradient_clip_val=self.config.max_gradient_norm,
            # The checkpoint must come after the row of its update, which it contains.
            callbacks=[
                history,
                Checkpoints(checkpoint, self.config.checkpoint_updates, history),
                ProgressBar(history.stage),
            ],
            plugins=[
                SealedCheckpointIO(),
                Ranks(rank),
                MixedPrecision(MIXED[precision], device.type) if precision in MIXED else Precision(),
            ],
            default_root_dir=self.workdir,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        # Lightning's handler of SIGTERM waits for all processes, and continues the stage for a batch.
        trainer._signal_connector.register_signal_handlers = _no_handlers  # type: ignore[method-assign]
        return trainer


class Savable(Protocol):
    """An objective that learns more than a model."""

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        ...


def _no_handlers() -> None:
    """Leave signals to the application."""


class StageModule(LightningModule):
    """One stage as a lightning module."""

    def __init__(self, objective: Objective, stage: StageConfig, seed: int) -> None:
        super().__init__()
        self.objective = objective
        self.stage = stage
        self.seed = seed
        self.precision = "fp32"
        """Resolved precision of the stage."""
        self.gradient_norm = torch.zeros(())
        """Gradient norm of the last update, before clipping."""

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Use AdamW. All groups follow the stage's schedule."""
        groups = self.objective.parameter_groups(self.stage.learning_rate)
        options = optimizer_options(self.device, self.precision)
        optimizer = AdamW(groups, lr=self.stage.learning_rate, **options)
        schedule = LambdaLR(optimizer, self.stage.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count the batches of the checkpoint for this number of processes, which may differ from the writer's."""
        num_batches = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        # Lightning counts a batch as completed after the callbacks, one of which saved this checkpoint.
        progress |= dict.fromkeys(("ready", "started", "processed"), num_batches) | {"completed": num_batches - 1}

    def on_train_batch_start(self, batch: CropBatch, batch_idx: int) -> None:  # noqa: ARG002 - lightning's signature
        """Seed the random numbers by the batch's number, and let the objective change before an update."""
        if self.is_first_of_update(batch.number):
            self.objective.before_update(self.global_step, cast("LightningOptimizer", self.optimizers()).optimizer)
        torch.manual_seed(derived_seed(self.seed, batch.number))

    def training_step(self, batch: CropBatch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002 - lightning's signature
        """Compute the loss and the logged values."""
        _, *inputs = batch
        parts = self.objective(*inputs, self.global_step)
        # Cloned, because a logged parameter changes with the update.
        logged = {key: self._scalar(value) for key, value in parts.items()}
        return {"loss": parts["loss"], "logged": logged}

    def _scalar(self, value: Tensor | float) -> Tensor:
        # A new tensor from a number is a copy to the device; filling one is not.
        return value.detach().clone() if isinstance(value, Tensor) else torch.full((), value, device=self.device)

    def is_first_of_update(self, number: int) -> bool:
        """Return whether a batch is the first of its update."""
        return number // self.trainer.world_size % self.trainer.accumulate_grad_batches == 0

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Clip by the norm over all groups, as DPHuBERT does."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.gradient_norm = torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val or math.inf)

    def last_learning_rate(self) -> float:
        """Return the learning rate of the last finished update."""
        return self.stage.learning_rate * self.stage.learning_rate_factor(self.global_step - 1)


def _cleaned_up(checkpoint: Path) -> Path | None:
    """Return the last undamaged checkpoint of a stage, without the remains of killed processes."""
    clean_up(checkpoint)
    return last_good(checkpoint)


def _load(path: Path, module: StageModule, history: History) -> int:
    """Load weights and rows, which suffice for a finished stage, and return the number of finished updates."""
    checkpoint = read_checkpoint(path)
    module.load_state_dict(checkpoint["state_dict"])
    history.load_state_dict(checkpoint["callbacks"][history.state_key])
    return int(checkpoint["global_step"])


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Undo lightning's handling of Ctrl-C: it exits, and ignores the next Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide lightning's banners and advice."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
