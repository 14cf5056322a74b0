"""Times models in alternation, call by call, so that anything that slows the machine affects them equally."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.profiling.models import Timed
from bench.store.latency import Spread


@dataclass(frozen=True)
class Repeats:
    """How often to repeat a workload after its warm-up."""

    wanted: int
    """Largest number of repeats."""
    limit_s: float
    """Time limit for all repeats, estimated from the warm-up, unless ``least`` take longer."""
    least: int = 1
    """Smallest number of repeats."""

    def affordable(self, round_s: float) -> int:
        """Return how many rounds of this many seconds to measure."""
        affordable = self.limit_s / max(round_s, 1e-9)
        return self.wanted if affordable >= self.wanted else max(int(affordable), self.least)


@dataclass(frozen=True)
class Times:
    """The times of one model, by `clock`."""

    first_call_s: float
    """Time of the first call of the warm-up."""
    seconds: NDArray[np.float64]
    """(repeats, batches)."""

    def rounds(self) -> NDArray[np.float64]:
        """Seconds of all batches together, (repeats,)."""
        total: NDArray[np.float64] = self.seconds.sum(axis=1)
        return total


def time_in_turn(models: Sequence[Timed], batches: Sequence[Tensor], repeats: Repeats) -> list[Times]:
    """Time every model on every batch.

    Within each batch, calls alternate between the models, in changing order, so that other load affects all of them.
    `torch.utils.benchmark` cannot do this: it times one statement at a time.

    Args:
        models: models on one device.
        batches: waveforms (batch, samples) on that device.
        repeats: how often to repeat.

    Returns:
        The times of each model.
    """
    with torch.inference_mode(), _no_garbage_collection():
        warm_up = np.array([[time_call(model, batch) for model in models] for batch in batches])
        num_rounds = repeats.affordable(float(warm_up.sum()))
        seconds = np.empty((len(models), num_rounds, len(batches)))
        for index in range(num_rounds):
            order = range(len(models)) if index % 2 == 0 else reversed(range(len(models)))
            turns = list(order)
            for column, batch in enumerate(batches):
                for turn in turns:
                    seconds[turn, index, column] = time_call(models[turn], batch)
    return [Times(float(warm_up[0, turn]), seconds[turn]) for turn in range(len(models))]


def time_call(model: Timed, batch: Tensor) -> float:
    """Compute hidden states once and return the seconds it took by `clock`, until the device has finished."""
    lengths = torch.full((len(batch),), batch.shape[1])
    seconds = clock(batch.device)
    _finish(batch.device)
    started = seconds()
    model(batch, lengths)
    _finish(batch.device)
    return seconds() - started


def clock(device: torch.device) -> Callable[[], float]:
    """Choose the clock.

    With one thread on the CPU, it is that thread's processor time, which excludes the time of other processes. With
    more threads, or on a GPU, it is wall-clock time.
    """
    return time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def spread(values: NDArray[np.float64]) -> Spread:
    """Summarise repeats, (repeats,)."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(median=float(median), low=float(low), high=float(high), repeats=len(values))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
