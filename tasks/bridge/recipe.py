"""The parts of s3prl's recipes that the bridge replaces, see `tasks.bridge.run`."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Upstream
from bench.files.atomic import writing
from bench.files.yaml import read_yaml
from bench.stopping import stop_if_requested
from tasks.bridge import s3prl_compat
from tasks.bridge.frozen_upstream import FrozenUpstream
from tasks.bridge.head_checkpoints import BEST, HeadCheckpoints, SaveInterval
from tasks.bridge.resumable_batches import ResumableBatches
from tasks.corpora.recording_conditions import recording_conditions
from tasks.feature_cache.features import Features, HiddenStates
from tasks.feature_cache.upstream import (
    CachedUpstream,
    RecomputedUpstream,
    feature_loader_class,
    fixed_crops_class,
)
from tasks.metrics.counts import Counts

logger = logging.getLogger(__name__)

Splits = Mapping[str, pd.DataFrame]
"""Tables ``train``, ``dev`` and ``test`` with one row per utterance. Columns: ``id``, ``wav_path``, ``num_samples`` (at
16 kHz) and those the recipe needs (``label``, ``transcription``, ...). Others are kept with the predictions."""

_READ_COLUMNS = (
    "id",
    "wav_path",
    "num_samples",
    "label",
    "labels",
    "transcription",
    "iob",
    "start_sec",
    "end_sec",
    "turns",
    "recorded_s",
)
_RNG_STATE = "rng_state.pt"


@functools.cache
def bridged_recipe(module_name: str, class_name: str, overrides: type[BridgedRecipe] | None = None) -> Any:
    """Return s3prl's recipe class with overrides, by default `BridgedRecipe`. Its constructor takes no arguments."""
    recipe = s3prl_compat.recipe_class(module_name, class_name)
    return type(f"Bridged{class_name}", (overrides or BridgedRecipe, recipe), {})


class BridgedRecipe:
    """Overrides of ``s3prl.problem.base.Problem`` that all recipes share. Argument names are s3prl's.

    Attributes are set after construction, because s3prl constructs recipes without arguments.
    """

    upstream: nn.Module
    splits: Splits
    scored: Sequence[str]
    features: Features | None = None
    """The upstream's cached features. None: they are computed at every step."""
    hidden_states: HiddenStates | None = None
    """Computes the frames of every utterance alone, as the cache would. None: in the recipe's padded batches."""
    checkpoints: HeadCheckpoints
    results: list[tuple[dict[str, float], dict[str, tuple[Any, Any]]]]
    """One entry per scored split: s3prl's metrics, and utterance id to (reference, prediction)."""
    layer_weights: list[float] | None = None
    """The scored head's weights of the hidden states. None if the head uses a single state."""

    _batches: ResumableBatches
    _task_arguments: Mapping[str, Any]
    _last_save_step: int
    _rng_state: Mapping[str, Tensor] | None = None
    _has_draft: bool = False

    def prepare_data(
        self, _prepare_data: dict[str, Any], target_dir: Path, _cache_dir: Path, get_path_only: bool = False
    ) -> tuple[Path, Path, list[Path]]:
        """Write the splits as s3prl's tables. Dev is scored like test: s3prl itself only scores a sample of it."""
        paths = {name: Path(target_dir) / f"{name}.csv" for name in ("train", "dev", "test")}
        if not get_path_only:
            for name, path in paths.items():
                self.splits[name].to_csv(path, index=False, encoding="utf-8")
        return paths["train"], paths["dev"], [paths[name] for name in self.scored]

    def build_dataset(
        self, build_dataset: dict[str, Any], target_dir: Path, cache_dir: Path, mode: str, data_csv: Path, *rest: Any
    ) -> Any:
        """Set the lengths of the dataset's utterances. s3prl would decode all audio to find them."""
        num_samples = self.splits[Path(data_csv).stem]["num_samples"].tolist()
        with self._audio_or_features(num_samples):
            dataset = super().build_dataset(build_dataset, target_dir, cache_dir, mode, data_csv, *rest)  # type: ignore[misc]
        dataset.num_samples = num_samples
        return dataset

    def _audio_or_features(self, num_samples: Sequence[int]) -> AbstractContextManager[None]:
        """Let the recipe's dataset load audio, or cached features instead."""
        if self.hidden_states is not None:
            return s3prl_compat.replaced_audio_loader(type(self), fixed_crops_class)
        if self.features is None:
            return contextlib.nullcontext()
        stride = cast(Upstream, self.upstream).stride
        replacement = functools.partial(
            feature_loader_class, features=self.features, num_samples=num_samples, stride=stride
        )
        return s3prl_compat.replaced_audio_loader(type(self), replacement)

    def build_batch_sampler(
        self, build_batch_sampler: dict[str, Any], target_dir: Path, cache_dir: Path, mode: str, *rest: Any
    ) -> Any:
        """Make training batches resumable."""
        batches = super().build_batch_sampler(build_batch_sampler, target_dir, cache_dir, mode, *rest)  # type: ignore[misc]
        if mode != "train":
            return batches
        self._batches = ResumableBatches(batches)
        return self._batches

    @property
    def has_unpadded_features(self) -> bool:
        """Whether the head gets each utterance's features as if it were alone in its batch."""
        return self.features is not None or self.hidden_states is not None

    def build_upstream(self, _build_upstream: dict[str, Any]) -> nn.Module:
        """Return our upstream, or the module that unpacks its cached features."""
        upstream = FrozenUpstream(self.upstream)
        if self.hidden_states is not None:
            return RecomputedUpstream(upstream, self.hidden_states)
        return upstream if self.features is None else CachedUpstream(upstream)

    def build_task(self, *args: Any, **kwargs: Any) -> Any:
        """Complete each checkpoint when the next step begins: s3prl has no hook after writing one."""
        task = super().build_task(*args, **kwargs)  # type: ignore[misc]
        task.register_forward_pre_hook(self._before_forward)
        return task

    def save_model(
        self, save_model: dict[str, Any], model_ckpt_dir: Path, build_model_all_args: dict[str, Any], model: nn.Module
    ) -> None:
        """Write the head, unless it is a large one that was written some minutes ago."""
        folder = Path(model_ckpt_dir).parent
        if folder.name == BEST:
            # Training never resumes from the best head.
            s3prl_compat.without_optimizer(folder)
        elif not self._is_due(folder, model):
            s3prl_compat.without_optimizer(folder)
            return
        super().save_model(save_model, model_ckpt_dir, build_model_all_args, model)  # type: ignore[misc]

    def _is_due(self, draft: Path, head: nn.Module) -> bool:
        is_last = int(draft.name.removeprefix("step_")) >= self._last_save_step
        return is_last or self.checkpoints.is_due(sum(weight.nbytes for weight in head.state_dict().values()))

    def save_task(self, *_args: Any) -> None:
        """Note that s3prl is writing a checkpoint. The task itself has no state to save."""
        self._has_draft = True

    def load_task(self, _task_ckpt_dir: Path, model: nn.Module, task_overrides: Mapping[str, Any] | None = None) -> Any:
        """Rebuild the task, which has no stored state."""
        return self.build_task(model=model, **{**self._task_arguments, **(task_overrides or {})})

    def train(
        self,
        train: dict[str, Any],
        train_dir: Path,
        build_model_all_args: dict[str, Any],
        build_task_all_args_except_model: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Train, starting from the newest complete checkpoint."""
        self._task_arguments = build_task_all_args_except_model
        self._last_save_step = train["total_steps"] // train["save_step"] * train["save_step"]
        checkpoint = self.checkpoints.restore()
        if checkpoint is not None:
            stats = read_yaml(checkpoint / "training_stats.yaml")
            self._batches.resume(stats["epoch"], stats["global_step"] * train["gradient_accumulate"])
            self._rng_state = torch.load(checkpoint / _RNG_STATE, weights_only=True)
            logger.info("Resuming after step %d", stats["global_step"])
        super().train(  # type: ignore[misc]
            {
                **train,
                "resume_ckpt_dir": checkpoint and str(checkpoint),
                "save_step": SaveInterval(train["save_step"]),
            },
            train_dir,
            build_model_all_args,
            build_task_all_args_except_model,
            *args,
            **kwargs,
        )
        self._commit()

    def evaluate(self, evaluate: dict[str, Any], mode: str, task: nn.Module, *args: Any) -> dict[str, float]:
        """Evaluate, and keep the head's prediction for every utterance of a test set."""
        batches: list[dict[str, Any]] = []
        hook = task.register_forward_hook(lambda _task, _inputs, outputs: batches.append(outputs[1]))
        try:
            metrics = super().evaluate(evaluate, self.step_of(mode), task, *args)  # type: ignore[misc]
        finally:
            hook.remove()
        if mode == "test":
            self.layer_weights = _layer_weights(task)
            self.results.append(
                (
                    {name: float(value) for name, value in metrics.items()},
                    self.answers(task, batches),
                )
            )
        return cast(dict[str, float], metrics)

    def step_of(self, mode: str) -> str:
        """Return which of the task's steps evaluates in a mode, ``valid`` or ``test``."""
        return mode

    def answers(self, _task: nn.Module, batches: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, Any]]:
        """Return (reference, prediction) by id, given the outputs of all batches."""
        return {
            name: (reference, prediction)
            for batch in batches
            for name, reference, prediction in zip(
                batch["unique_name"], batch["label"], batch["prediction"], strict=True
            )
        }

    def prediction_rows(
        self,
        split: str,
        results: Mapping[str, tuple[Any, Any]],
        _metrics: Mapping[str, float],
        counts: Callable[[Any, Any], Counts],
    ) -> Iterator[dict[str, Any]]:
        """Return the rows of `bench.contracts.Evaluation.predictions` of a scored split.

        Args:
            split: its name.
            results: (reference, prediction) by id.
            _metrics: s3prl's metrics.
            counts: an utterance's contribution to every metric.
        """
        frame = self.splits[split]
        conditions = recording_conditions(frame["wav_path"])
        for row in frame.to_dict("records"):
            reference, prediction = results[row["id"]]
            yield {
                "id": row["id"],
                "split": split,
                "reference": reference,
                "prediction": prediction,
                "correct": prediction == reference,
                "counts": counts(reference, prediction),
                "duration_s": row["num_samples"] / SAMPLE_RATE_HZ,
                **conditions.get(row["wav_path"], {}),
                **{str(column): value for column, value in row.items() if column not in _READ_COLUMNS},
            }

    def _before_forward(self, _task: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs[0] != "train":
            return
        if self._commit():
            stop_if_requested()
        if self._rng_state is not None:
            torch.set_rng_state(self._rng_state["cpu"])
            if "cuda" in self._rng_state:
                torch.cuda.set_rng_state(self._rng_state["cuda"])
            self._rng_state = None

    def _commit(self) -> bool:
        """Complete the checkpoint that s3prl has just written; return whether there is one."""
        # This runs before every step, so look at the disk only after s3prl wrote a checkpoint.
        draft = self.checkpoints.draft() if self._has_draft else None
        self._has_draft = False
        if draft is None:
            return False
        commit(self.checkpoints, draft)
        return True


def commit(checkpoints: HeadCheckpoints, draft: Path) -> None:
    """Complete a checkpoint with the state of the random numbers."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    with writing(draft / _RNG_STATE) as file:
        torch.save(state, file)
    checkpoints.commit(draft)


def _layer_weights(task: nn.Module) -> list[float] | None:
    """Return the weights of the hidden states in s3prl's featurizer: the softmax of its parameters."""
    state = task.state_dict()
    if "model.featurizer.weights" not in state:
        return None
    return cast(list[float], state["model.featurizer.weights"].double().softmax(-1).tolist())
