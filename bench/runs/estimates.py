"""How much work and disk space each item of a plan needs, from counts and stated assumptions. Nothing is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from bench.audio.files import SAMPLE_RATE_HZ
from bench.config.training_budget import teacher_shape
from bench.contracts import Context, CountsHead, EstimatesWork
from bench.runs.checks import COPIES_OF_WEIGHTS_ON_DISK, task_settings
from bench.runs.corpora import CorpusSizes
from bench.runs.feature_room import feature_need
from bench.runs.work import Compress, Evaluate, Item, Model, WorkList
from bench.stacking import part_names
from bench.stacking.stack import PartsMade, Stack
from bench.upstream import AnyUpstream, FbankUpstream, UpstreamConfig, UpstreamModel, reference_config
from bench.upstream.cost import count_macs, count_parameters

TRAINING_TFLOPS = 30.0
"""Assumed throughput of training in bf16, in 10^12 floating-point operations per second: about a tenth of an A100's
peak. A MAC is two operations."""
FEATURES_TFLOPS = 10.0
"""Assumed throughput of features in float32 without TF32, as tasks compute them: about half the peak of an A100."""

BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Estimate:
    """The work that is left of one item. None: unknown."""

    updates: int | None
    """Optimiser updates."""
    audio_s: float | None
    """The most seconds of speech that pass through the models, each pass over an utterance counted."""
    macs: int | None
    """MACs of the models. Norms, k-means and decompositions are not counted."""
    disk_bytes: int | None
    """The most bytes that stay on disk: models, or features."""
    tflops: float
    """Assumed throughput, in 10^12 operations per second."""
    head_macs: int = 0
    """MACs of a cell's head, as far as its task counts them."""
    num_learning_rates: int = 1
    """Learning rates that a cell tries, each in a training of its own."""

    @property
    def gpu_hours(self) -> float | None:
        """Hours of one GPU at the assumed throughput."""
        return None if self.macs is None else hours_at(self.tflops, self.macs + self.head_macs)


def hours_at(tflops: float, macs: float) -> float:
    """Return the hours that MACs take at a throughput in 10^12 operations per second, two per MAC."""
    return 2 * macs / (tflops * 1e12) / 3600


def checkpoint_bytes(teacher: str) -> int:
    """Return the most bytes of a compression's checkpoints. They are removed when it is done."""
    return (COPIES_OF_WEIGHTS_ON_DISK - 1) * _weights_bytes(teacher_shape(teacher))


class Estimates:
    """Estimates the items of one plan.

    A model that is not made yet counts as large as its teacher.

    Args:
        work: the plan.
        sizes: of the corpora. None: unknown.
        device: where models are trained and evaluated.
    """

    def __init__(self, work: WorkList, sizes: CorpusSizes | None, device: Literal["cpu", "cuda"]) -> None:
        self._work = work
        self._sizes = sizes
        self._device = device
        self._stored: set[tuple[str, str]] = set()
        self._shapes: dict[str, UpstreamConfig | None] = {}

    def items(self) -> Iterator[tuple[Item, Estimate | None]]:
        """Estimate the items in their order; None for those that are done."""
        self._stored.clear()
        for item in self._work.items():
            if item.is_done(self._work.folder):
                yield item, None
            elif isinstance(item, Compress):
                yield item, self._compression(item)
            else:
                yield item, self._cell(item)

    def _compression(self, item: Compress) -> Estimate:
        config = self._work.config
        compressor = config.row(item.row).make_compressor()
        if isinstance(compressor, Stack) and item.part is not None:
            compressor = compressor.beginning_with(PartsMade(len(part_names(item.part.compressor))))
        teacher = teacher_shape(config.teacher or "")
        work = compressor.training_work(teacher)
        disk_bytes = len(self._work.models_of(item)) * _weights_bytes(teacher)
        if work is None:
            return Estimate(None, None, None, disk_bytes, TRAINING_TFLOPS)
        return Estimate(work.updates, work.audio_s, work.macs, disk_bytes, TRAINING_TFLOPS)

    def _cell(self, item: Evaluate) -> Estimate:
        config = self._work.config
        settings = task_settings(config, item.task)
        if self._sizes is None or not isinstance(settings, EstimatesWork):
            return Estimate(None, None, None, None, FEATURES_TFLOPS)
        # Those that are done count too: they may have searched for the others.
        cells = [cell for cell in self._work.cells(item.model) if cell.task == item.task]
        context = Context(
            seed=item.seed,
            device=self._device,
            protocol=config.protocol,
            model=item.model.row,
            seed_workdirs={cell.seed: self._work.folder.cell_workdir(cell.cell.stem()) for cell in cells},
        )
        work = settings.evaluation_work(self._sizes[item.task], context)
        shape = self._shape(item.model)
        head_macs = 0
        if isinstance(settings, CountsHead):
            model = _model_without_weights(shape)
            head_macs = settings.head_macs(self._sizes[item.task], context, model.num_layers + 1, model.dim)
        head = {"head_macs": head_macs, "num_learning_rates": work.num_learning_rates}
        if work.is_stored and (item.model.weights, item.task) in self._stored:
            return Estimate(work.updates, 0.0, 0, 0, FEATURES_TFLOPS, **head)
        self._stored.add((item.model.weights, item.task))
        macs = _macs(shape, work.audio_s, work.num_utterances)
        disk_bytes = self._features(item, shape, context)
        return Estimate(work.updates, work.audio_s, macs, disk_bytes, FEATURES_TFLOPS, **head)

    def _features(self, item: Evaluate, shape: UpstreamConfig | None, context: Context) -> int:
        config = self._work.config
        if config.protocol != "cached" or self._sizes is None:
            return 0
        weights = f"of {item.model.weights}"
        need = feature_need(config, item.cell, _model_without_weights(shape), weights, self._sizes[item.task], context)
        return need.num_bytes if need else 0

    def _shape(self, model: Model) -> UpstreamConfig | None:
        """Return the shape of a model, or of its teacher if it is not made yet. None for ``fbank``."""
        config, folder = self._work.config, self._work.folder
        if model.made_by is None:
            reference = config.models[model.row].reference or ""
        elif model.made_by.is_done(folder):
            reference = str(folder.model_folder(model.weights))
        else:
            return teacher_shape(config.teacher or "")
        if reference not in self._shapes:
            self._shapes[reference] = reference_config(reference)
        return self._shapes[reference]


def _macs(shape: UpstreamConfig | None, audio_s: float, num_utterances: int) -> int:
    """Count the MACs of forward passes over utterances of the mean length."""
    if shape is None or not num_utterances:
        return 0
    return num_utterances * count_macs(shape, round(audio_s / num_utterances * SAMPLE_RATE_HZ))


def _weights_bytes(shape: UpstreamConfig) -> int:
    return BYTES_PER_PARAMETER * count_parameters(shape)


def _model_without_weights(shape: UpstreamConfig | None) -> AnyUpstream:
    if shape is None:
        return FbankUpstream()
    with torch.device("meta"):
        return UpstreamModel(shape)
