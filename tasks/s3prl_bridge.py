"""Runs s3prl's SUPERB recipes on our upstreams and corpora.

The recipes' own code builds, trains, selects and tests the head. What is replaced is what a trustworthy number needs:
the corpus is a table per split, the upstream is any `bench.contracts.Upstream`, checkpoints hold the head alone and
survive a kill (`tasks.head_checkpoints`), a resumed training is the uninterrupted one bit for bit (on a CPU, without
data-loading workers and s3prl's random crops), and each utterance's prediction is kept.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
import yaml
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bench.audio import SAMPLE_RATE_HZ
from bench.contracts import Context, Upstream
from bench.errors import UserError
from bench.upstream.checkpoint import weights_hash
from tasks import s3prl_compat
from tasks.counts import Counts
from tasks.feature_cache.features import Features, Kind
from tasks.feature_cache.upstream import CachedUpstream, cached_features, feature_loader_class
from tasks.fingerprint import claim, data_sha256
from tasks.head_checkpoints import HeadCheckpoints
from tasks.mini.conditions import recording_conditions

s3prl_compat.install()
from omegaconf import OmegaConf  # noqa: E402
from s3prl.nn.upstream import MIN_SECOND, S3PRLUpstream  # noqa: E402

logger = logging.getLogger(__name__)

Splits = Mapping[str, pd.DataFrame]
"""``train``, ``dev`` and ``test``: a row an utterance, with the columns ``id``, ``wav_path``, ``num_samples``
(at 16 kHz) and those the recipe asks for (``label``; ``transcription``; ...). Further columns are left alone."""

_READ_COLUMNS = ("id", "wav_path", "num_samples", "label", "labels", "transcription", "iob", "start_sec", "end_sec")
_RNG_STATE = "rng_state.pt"
_SAMPLER_SEED = 12345678


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe found out about whole splits, with the head that was best on dev."""

    predictions: list[dict[str, Any]]
    """A row an utterance: id, split, reference and prediction as the recipe scored them, correct, counts, duration_s,
    and the columns of the split that no recipe reads."""
    settings: dict[str, Any]
    """Every argument the recipe was run with, its own figures, library versions and split sizes, as plain values."""
    metrics: dict[str, dict[str, float]]
    """The recipe's own figures on the splits that were scored, the loss among them."""

    def predictions_by_split(self) -> dict[str, list[dict[str, Any]]]:
        """Part the rows into the splits that were scored."""
        return {split: [row for row in self.predictions if row["split"] == split] for split in self.metrics}


def run_recipe(
    recipe: tuple[str, str],
    arguments: Mapping[str, Any],
    splits: Splits,
    upstream: Upstream,
    workdir: Path,
    context: Context,
    features: Kind,
    counts: Callable[[Any, Any], Counts],
    scored: Sequence[str] = ("dev", "test"),
) -> RecipeResult:
    """Train the recipe's head on the frozen upstream, and score it on the whole dev and test sets.

    Interrupted, the same call goes on from the last checkpoint; what another call left in ``workdir`` is removed.

    Args:
        recipe: module and class in s3prl, such as ``("s3prl.problem.common.superb_ks", "SuperbKS")``.
        arguments: what differs from the recipe's ``default_config()``, nested alike.
        splits: the corpus.
        upstream: moved to the context's device, and left in eval mode.
        workdir: keeps its files in the sub-folder ``s3prl``.
        context: its seed initialises the head and orders the batches; seed 0 orders them as s3prl does.
        features: what the head needs of the hidden states, where the context's protocol is ``cached``.
        counts: an utterance's share of every metric, given its reference and its prediction.
        scored: the splits to score the head on; ``dev`` alone leaves test untouched.

    Raises:
        UserError: audio that is torn or not finite, or an upstream whose hidden states are not finite.
    """
    problem = _bridged(*recipe)()
    problem.upstream = cast(nn.Module, upstream).to(context.device).eval()
    problem.splits = splits
    problem.scored = scored
    target_dir = workdir / "s3prl"
    run_arguments = _run_arguments(problem.default_config(), arguments, context)
    weights = weights_hash(problem.upstream)
    if context.protocol == "cached":
        problem.features = cached_features(_FrozenUpstream(problem.upstream), weights, features, context)
    versions = {name: importlib.metadata.version(name) for name in ("s3prl", "torch", "torchaudio")}
    claim(
        target_dir,
        {
            "recipe": recipe,
            "arguments": run_arguments,
            "upstream": weights,
            "protocol": context.protocol,
            "data": {name: data_sha256(frame) for name, frame in splits.items()},
            "versions": versions,
        },
    )
    problem.checkpoints = HeadCheckpoints(target_dir / "train", target_dir / "checkpoints")
    problem.results = []
    problem.layer_weights = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.run(target_dir=str(target_dir), cache_dir=str(target_dir / "cache"), **run_arguments)
        except UserError as error:
            # A data-loading worker's error carries its traceback in the message.
            raise UserError(str(error).rstrip().rpartition("UserError: ")[2]) from error
    tested = dict(zip(scored, problem.results, strict=True))
    metrics = {name: values for name, (values, _) in tested.items()}
    settings = {
        "recipe": ".".join(recipe),
        **{f"{name}_version": version for name, version in versions.items()},
        **{f"num_{name}_utterances": len(frame) for name, frame in splits.items()},
        **{f"{name}_recipe_metrics": values for name, values in metrics.items()},
        "loss": {name: values["loss"] for name, values in metrics.items()},
        **({"layer_weights": problem.layer_weights} if problem.layer_weights else {}),
        "protocol": context.protocol,
        **({"features": features} if context.protocol == "cached" else {}),
        "num_threads": torch.get_num_threads(),
        "arguments": run_arguments,
    }
    predictions = [
        row for name, (_, said) in tested.items() for row in _prediction_rows(name, splits[name], said, counts)
    ]
    return RecipeResult(predictions=predictions, settings=settings, metrics=metrics)


def _prediction_rows(
    split: str, frame: pd.DataFrame, said: Mapping[str, tuple[Any, Any]], counts: Callable[[Any, Any], Counts]
) -> Iterator[dict[str, Any]]:
    conditions = recording_conditions(frame["wav_path"])
    for row in frame.to_dict("records"):
        reference, prediction = said[row["id"]]
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


class _FrozenUpstream(S3PRLUpstream):  # type: ignore[misc]
    """Gives an upstream s3prl's length rule: the last frame is repeated up to one frame a stride begun.

    The module is kept out of the head's parameters and state, so that neither optimizer nor checkpoints hold it.
    """

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        upstream = cast(Upstream, module)
        num_states = upstream.num_layers + 1
        self.normalize = False
        self.upstream = functools.partial(_hidden_states, upstream)
        self._num_layers = num_states
        self._hidden_sizes = [upstream.dim] * num_states
        self._downsample_rates = [upstream.stride] * num_states


def _hidden_states(upstream: Upstream, waveforms: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    batch = pad_sequence(list(waveforms), batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms], device=batch.device)
    # s3prl pads a batch that is too short for the convolutions; one short utterance in a batch needs the same.
    states, _ = upstream(batch, lengths.clamp(min=min(round(MIN_SECOND * SAMPLE_RATE_HZ), batch.shape[1])))
    if not torch.isfinite(states[-1]).all():
        raise UserError(
            "Expected finite hidden states. The upstream returned NaN or infinity on speech that is finite. "
            "Its weights are unusable: compress or convert it again."
        )
    return {"hidden_states": states}


class _ResumableBatches:
    """A batch sampler that can leave out the batches of an epoch that was already begun."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self._epoch = 0
        self._resumed = (-1, 0)

    def resume(self, epoch: int, num_batches: int) -> None:
        """Skip what training took before it was interrupted, epochs of equal length assumed."""
        self._resumed = (epoch, num_batches - epoch * len(self._batches))

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        if hasattr(self._batches, "set_epoch"):
            self._batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, skipped = self._resumed
        # Not list(self._batches): that asks for the length first, which draws an order of the epoch and drops it.
        yield from itertools.islice(iter(self._batches), skipped if epoch == self._epoch else 0, None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Bridge:
    """What every bridged recipe overrides of ``s3prl.problem.base.Problem``; argument names are s3prl's.

    The attributes are set after construction, since s3prl constructs every recipe without arguments once.
    """

    upstream: nn.Module
    splits: Splits
    scored: Sequence[str]
    features: Features | None = None
    """Of the upstream, where they are cached."""
    checkpoints: HeadCheckpoints
    results: list[tuple[dict[str, float], dict[str, tuple[Any, Any]]]]
    """Of the splits to score, once they are: s3prl's metrics, and utterance id to (reference, prediction)."""
    layer_weights: list[float] | None = None
    """Of the head that was scored, as it weights the hidden states; none where it hears a single one."""

    _batches: _ResumableBatches
    _task_arguments: Mapping[str, Any]
    _rng_state: Mapping[str, Tensor] | None = None
    _has_draft: bool = False

    def prepare_data(
        self, _prepare_data: dict[str, Any], target_dir: Path, _cache_dir: Path, get_path_only: bool = False
    ) -> tuple[Path, Path, list[Path]]:
        """Write the splits as s3prl's tables; dev is a test set too, since it selects by another sample of it."""
        paths = {name: Path(target_dir) / f"{name}.csv" for name in ("train", "dev", "test")}
        if not get_path_only:
            for name, path in paths.items():
                self.splits[name].to_csv(path, index=False, encoding="utf-8")
        return paths["train"], paths["dev"], [paths[name] for name in self.scored]

    def build_dataset(
        self, build_dataset: dict[str, Any], target_dir: Path, cache_dir: Path, mode: str, data_csv: Path, *rest: Any
    ) -> Any:
        """Tell the dataset its utterances' lengths, which s3prl would find by decoding all of it."""
        num_samples = self.splits[Path(data_csv).stem]["num_samples"].tolist()
        with self._audio_or_features(num_samples):
            dataset = super().build_dataset(build_dataset, target_dir, cache_dir, mode, data_csv, *rest)  # type: ignore[misc]
        dataset.num_samples = num_samples
        return dataset

    def _audio_or_features(self, num_samples: Sequence[int]) -> AbstractContextManager[None]:
        """Let the recipe's dataset load audio, or cached features in its place."""
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
        self._batches = _ResumableBatches(batches)
        return self._batches

    def build_upstream(self, _build_upstream: dict[str, Any]) -> nn.Module:
        """Give the recipe our upstream, or what unpacks its cached features."""
        upstream = _FrozenUpstream(self.upstream)
        return upstream if self.features is None else CachedUpstream(upstream)

    def build_task(self, *args: Any, **kwargs: Any) -> Any:
        """Complete checkpoints when the next step begins: s3prl has no hook after it has written one."""
        task = super().build_task(*args, **kwargs)  # type: ignore[misc]
        task.register_forward_pre_hook(self._before_forward)
        return task

    def save_task(self, *_args: Any) -> None:
        """Note that a checkpoint is being written, and save nothing: the task has no state."""
        self._has_draft = True

    def load_task(self, _task_ckpt_dir: Path, model: nn.Module, task_overrides: Mapping[str, Any] | None = None) -> Any:
        """Build the task anew."""
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
        """Train from the newest complete checkpoint."""
        self._task_arguments = build_task_all_args_except_model
        checkpoint = self.checkpoints.restore()
        if checkpoint is not None:
            stats = yaml.safe_load((checkpoint / "training_stats.yaml").read_text(encoding="utf-8"))
            self._batches.resume(stats["epoch"], stats["global_step"] * train["gradient_accumulate"])
            self._rng_state = torch.load(checkpoint / _RNG_STATE, weights_only=True)
            logger.info("Goes on after step %d", stats["global_step"])
        super().train(  # type: ignore[misc]
            {**train, "resume_ckpt_dir": checkpoint and str(checkpoint)},
            train_dir,
            build_model_all_args,
            build_task_all_args_except_model,
            *args,
            **kwargs,
        )
        self._commit()

    def evaluate(self, evaluate: dict[str, Any], mode: str, task: nn.Module, *args: Any) -> dict[str, float]:
        """Keep what the head said about every utterance of a test set."""
        batches: list[dict[str, Any]] = []
        hook = task.register_forward_hook(lambda _task, _inputs, outputs: batches.append(outputs[1]))
        try:
            metrics = super().evaluate(evaluate, mode, task, *args)  # type: ignore[misc]
        finally:
            hook.remove()
        if mode == "test":
            self.layer_weights = _layer_weights(task)
            self.results.append(
                (
                    {name: float(value) for name, value in metrics.items()},
                    {
                        name: (reference, prediction)
                        for batch in batches
                        for name, reference, prediction in zip(
                            batch["unique_name"], batch["label"], batch["prediction"], strict=True
                        )
                    },
                )
            )
        return cast(dict[str, float], metrics)

    def _before_forward(self, _task: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs[0] != "train":
            return
        self._commit()
        if self._rng_state is not None:
            torch.set_rng_state(self._rng_state["cpu"])
            if "cuda" in self._rng_state:
                torch.cuda.set_rng_state(self._rng_state["cuda"])
            self._rng_state = None

    def _commit(self) -> None:
        # Before every step, so it must not ask the file system.
        draft = self.checkpoints.draft() if self._has_draft else None
        self._has_draft = False
        if draft is None:
            return
        state = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        torch.save(state, draft / _RNG_STATE)
        self.checkpoints.commit(draft)


def _layer_weights(task: nn.Module) -> list[float] | None:
    """Read how s3prl's featurizer weights the hidden states: the softmax of its parameters, one each."""
    state = task.state_dict()
    if "model.featurizer.weights" not in state:
        return None
    return cast(list[float], state["model.featurizer.weights"].double().softmax(-1).tolist())


@functools.cache
def _bridged(module_name: str, class_name: str) -> Any:
    recipe = s3prl_compat.recipe_class(module_name, class_name)
    return type(f"Bridged{class_name}", (_Bridge, recipe), {})


def _run_arguments(defaults: Mapping[str, Any], changes: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Merge a recipe's defaults with what differs; intervals longer than the training are cut to it."""
    merged = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(dict(defaults)), dict(changes)))
    arguments = cast(dict[str, Any], merged)
    # Paths are given apart; the rest is replaced by the bridge or, as `save_model`, saves what is known anyway.
    for name in ("target_dir", "cache_dir"):
        del arguments[name]
    arguments |= {"prepare_data": {}, "build_upstream": {}, "save_model": {}, "save_task": {}}
    arguments["device"] = context.device
    train = arguments["train"]
    train["seed"] = context.seed
    for interval in ("eval_step", "save_step", "log_step"):
        train[interval] = min(train[interval], train["total_steps"])
    # Seed 0 keeps s3prl's order of batches; a prime keeps other seeds' epochs apart from it.
    arguments["build_batch_sampler"]["train"]["seed"] = _SAMPLER_SEED + 1_000_003 * context.seed
    return arguments
