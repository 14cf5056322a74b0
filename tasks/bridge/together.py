"""The part of s3prl's recipes that trains: here it trains several pooled heads at once, see `StackedHeads`.

s3prl's own code builds the corpus, the heads and the batches. Each head gets the checkpoint that s3prl would have left.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.contracts import Upstream
from bench.files.atomic import writing
from bench.files.yaml import dump_yaml, read_yaml
from bench.progress import Progress
from bench.sizes import size_text
from bench.stopping import is_stop_requested, stop_if_requested
from tasks.bridge import s3prl_compat
from tasks.bridge.head_checkpoints import BEST, HeadCheckpoints
from tasks.bridge.recipe import BridgedRecipe, commit
from tasks.bridge.resumable_batches import ResumableBatches
from tasks.bridge.stacked_heads import AdamState, StackedHeads, Table

s3prl_compat.install()
from s3prl.util.seed import fix_random_seeds  # noqa: E402

STACKABLE = frozenset({"SuperbKS", "SuperbSID", "SuperbIC", "SuperbER"})
"""s3prl's recipes whose heads `StackedHeads` trains."""
MOST_BYTES: Mapping[str, int] = {"cpu": 4 * 2**30, "cuda": 16 * 2**30}
"""Largest features of train and dev that are held in memory, by device."""
SAVE_INTERVAL_S = 10.0
"""Shortest time between two checkpoints. A checkpoint of many heads takes longer than many of their steps."""

logger = logging.getLogger(__name__)


def fits_in_memory(upstream: Upstream, num_utterances: int, device: str) -> bool:
    """Return whether the time means of train and dev may be held in memory, and log it if not."""
    num_bytes = num_utterances * (upstream.num_layers + 1) * upstream.dim * 4
    if num_bytes <= MOST_BYTES[device]:
        return True
    logger.info(
        "heads are trained one by one: the features of train and dev take %s, more than %s",
        size_text(num_bytes),
        size_text(MOST_BYTES[device]),
    )
    return False


@dataclass
class HeadInTraining:
    """One head, between two updates of its stack."""

    arguments: dict[str, Any]
    """Of the recipe."""
    checkpoints: HeadCheckpoints
    batches: ResumableBatches = field(init=False)
    model: nn.Module = field(init=False)
    """s3prl's model; it has the latest weights when a checkpoint is written."""
    adam: AdamState | None = None
    best: dict[str, Tensor] | None = None
    """Weights of the best head on dev."""
    best_metrics: dict[str, float] = field(default_factory=dict)
    step: int = 0
    epoch: int = 0

    @property
    def total_steps(self) -> int:
        """Length of the training."""
        return cast(int, self.arguments["train"]["total_steps"])

    @property
    def learning_rate(self) -> float:
        """Adam's learning rate."""
        return cast(float, self.arguments["build_optimizer"]["conf"]["lr"])


class TogetherRecipe(BridgedRecipe):
    """Overrides of s3prl's recipes with pooled heads. Argument names are s3prl's."""

    heads: list[HeadInTraining]
    """To be trained. They differ in learning rate and seed."""

    def build_batch_sampler(
        self, build_batch_sampler: dict[str, Any], target_dir: Path, cache_dir: Path, mode: str, *rest: Any
    ) -> Any:
        """Give every head its own training batches."""
        if mode != "train":
            return super().build_batch_sampler(build_batch_sampler, target_dir, cache_dir, mode, *rest)
        for head in self.heads:
            own = head.arguments["build_batch_sampler"]
            head.batches = super().build_batch_sampler(own, target_dir, cache_dir, mode, *rest)
        return self.heads[0].batches

    def train(  # type: ignore[override]
        self,
        train: dict[str, Any],
        _train_dir: Path,
        build_model_all_args: dict[str, Any],
        build_task_all_args_except_model: dict[str, Any],
        _save_model: dict[str, Any],
        _save_task: dict[str, Any],
        _build_optimizer: dict[str, Any],
        _build_scheduler: dict[str, Any],
        _evaluate: dict[str, Any],
        train_dataset: Any,
        _train_batch_sampler: Any,
        _train_collate_fn: Any,
        valid_dataset: Any,
        valid_batch_sampler: Any,
        _valid_collate_fn: Any,
        *,
        device: str,
        num_workers: int,
        **_: Any,
    ) -> None:
        """Train all heads to their end. Heads that an interruption left behind catch up first."""
        self._model_arguments = build_model_all_args
        self._settings = train
        # PyTorch's loader draws the order of an epoch twice if it has workers.
        self._draws = 2 if num_workers else 1
        task = self.build_task(
            model=self.build_model(**build_model_all_args),  # type: ignore[attr-defined]
            **build_task_all_args_except_model,
        )
        self._slots = [len(slot) for slot in getattr(task, "categories", None) or [task.category]]
        self._training, self._dev = _table(train_dataset, device), _table(valid_dataset, device)
        (self._dev_positions,), self._dev_shares = _joined([list(valid_batch_sampler)], device)
        for head in self.heads:
            self._begin(head, device)
        while (step := min(head.step for head in self.heads)) < train["total_steps"]:
            group = [head for head in self.heads if head.step == step]
            later = [head.step for head in self.heads if head.step > step]
            self._train_group(group, min([train["total_steps"], *later]), device)

    def _begin(self, head: HeadInTraining, device: str) -> None:
        """Initialise a head, or restore its newest checkpoint."""
        fix_random_seeds(head.arguments["train"]["seed"])
        head.model = self.build_model(**self._model_arguments).to(device)  # type: ignore[attr-defined]
        checkpoint = head.checkpoints.restore()
        if checkpoint is None:
            return
        stats = read_yaml(checkpoint / "training_stats.yaml")
        head.step, head.epoch, head.best_metrics = stats["global_step"], stats["epoch"], stats["valid_best_metrics"]
        head.model.load_state_dict(_loaded(checkpoint / "model" / "state_dict.pt", device))
        state = list(_loaded(checkpoint / "optimizer.pt", device)["state"].values())
        if state:
            named = dict(zip(dict(head.model.named_parameters()), state, strict=True))
            head.adam = AdamState(
                float(state[0]["step"]),
                {name: one["exp_avg"] for name, one in named.items()},
                {name: one["exp_avg_sq"] for name, one in named.items()},
            )
        if (checkpoint / BEST).is_dir():
            head.best = _loaded(checkpoint / BEST / "model" / "state_dict.pt", device)
        logger.info("Resuming after step %d", head.step)

    def _train_group(self, heads: Sequence[HeadInTraining], last: int, device: str) -> None:
        """Train heads that have made the same number of steps, until all have made ``last`` steps."""
        settings, first = self._settings, heads[0].step
        stack = StackedHeads(
            [head.model for head in heads],
            [head.adam for head in heads],
            [head.learning_rate for head in heads],
            self._slots,
            settings["gradient_clipping"],
        )
        orders = [self._batches_of(head) for head in heads]
        progress = Progress(f"train {len(heads)} heads", settings["total_steps"], first, "steps")
        saved = time.monotonic()
        for step in range(first + 1, last + 1):
            taken = [list(itertools.islice(order, settings["gradient_accumulate"])) for order in orders]
            stack.step(self._training, *_joined(taken, device))
            if step % settings["eval_step"] == 0:
                self._select(heads, stack)
            is_due = step % settings["save_step"] == 0 and time.monotonic() - saved >= SAVE_INTERVAL_S
            if is_due or step == last or is_stop_requested():
                for number, head in enumerate(heads):
                    head.step, head.adam = step, stack.optimizer_of(number)
                    head.model.load_state_dict(stack.weights_of(number))
                    self._save(head)
                saved = time.monotonic()
                stop_if_requested()
            progress.show(step)
        progress.close()

    def _batches_of(self, head: HeadInTraining) -> Iterator[list[int]]:
        """Yield a head's further training batches, and keep its epoch up to date."""
        batches = head.batches
        batches.resume(head.epoch, head.step * self._settings["gradient_accumulate"])
        for epoch in itertools.count(head.epoch):
            head.epoch = epoch
            batches.set_epoch(epoch)
            for _ in range(self._draws):
                drawn = list(iter(batches))
            yield from drawn

    def _select(self, heads: Sequence[HeadInTraining], stack: StackedHeads) -> None:
        """Score all heads on dev as s3prl does, and keep those that are better than before."""
        wanted = self._settings["valid_metric"]
        sign = 1 if self._settings["valid_higher_better"] else -1
        losses, correct = stack.evaluate(self._dev, self._dev_positions, self._dev_shares)
        for number, (head, loss, count) in enumerate(zip(heads, losses.tolist(), correct.tolist(), strict=True)):
            metrics = {"loss": loss, "accuracy": count / len(self._dev_positions)}
            if not head.best_metrics or sign * metrics[wanted] > sign * head.best_metrics[wanted]:
                head.best_metrics, head.best = metrics, stack.weights_of(number)

    def _save(self, head: HeadInTraining) -> None:
        """Write a checkpoint as s3prl does."""
        stats = {"global_step": head.step, "epoch": head.epoch, "valid_best_metrics": head.best_metrics}
        train_dir = head.checkpoints.train_dir
        draft = train_dir / f"step_{head.step}"
        self._write_model(draft, head.model, stats)
        if head.adam is not None:
            with writing(draft / "optimizer.pt") as file:
                torch.save(self._optimizer_state(head, head.adam), file)
        if head.best is not None:
            best = self.build_model(**self._model_arguments)  # type: ignore[attr-defined]
            best.load_state_dict(head.best)
            self._write_model(train_dir / BEST, best, stats)
        commit(head.checkpoints, draft)

    def _write_model(self, folder: Path, model: nn.Module, stats: Mapping[str, Any]) -> None:
        super(BridgedRecipe, self).save_model({}, folder / "model", self._model_arguments, model)  # type: ignore[misc]
        (folder / "training_stats.yaml").write_text(dump_yaml(stats), encoding="utf-8")

    def _optimizer_state(self, head: HeadInTraining, adam: AdamState) -> dict[str, Any]:
        """Return what ``torch.optim.Adam`` would save."""
        weights = dict(head.model.named_parameters())
        optimizer = self.build_optimizer(head.arguments["build_optimizer"], weights.values())  # type: ignore[attr-defined]
        for name, weight in weights.items():
            optimizer.state[weight] = {
                "step": torch.tensor(adam.steps),
                "exp_avg": adam.means[name],
                "exp_avg_sq": adam.squares[name],
            }
        return cast(dict[str, Any], optimizer.state_dict())


def _table(dataset: Any, device: str) -> Table:
    """Read all utterances of a dataset of s3prl's into the device's memory."""
    # In the layout that the table has inside, so that there is only one copy at any time.
    means = torch.empty(0)
    classes = []
    for index in range(len(dataset)):
        utterance = dataset[index]
        (mean,) = utterance["x"]
        if index == 0:
            means = mean.new_empty(len(mean), len(dataset), mean.shape[-1])
        means[:, index] = mean
        classes.append(torch.as_tensor(utterance.get("class_ids", utterance.get("class_id"))).view(-1))
    return Table(means.to(device).transpose(0, 1), torch.stack(classes).to(device))


def _joined(taken: Sequence[Sequence[Sequence[int]]], device: str) -> tuple[Tensor, Tensor]:
    """Join the batches that each head accumulates.

    Args:
        taken: batches of positions for each head. All heads have batches of the same sizes.
        device: of the result.

    Returns:
        Positions (heads, utterances), and each utterance's share (utterances,) of the mean of the batches' means.
    """
    positions = [[position for batch in batches for position in batch] for batches in taken]
    shares = [1 / (len(taken[0]) * len(batch)) for batch in taken[0] for _ in batch]
    return torch.tensor(positions, device=device), torch.tensor(shares, device=device)


def _loaded(path: Path, device: str) -> dict[str, Any]:
    return cast(dict[str, Any], torch.load(path, map_location=device, weights_only=True))
