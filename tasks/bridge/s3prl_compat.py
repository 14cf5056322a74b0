"""The shims that s3prl 0.4.18 needs to run its SUPERB recipes with current torch, torchaudio and pandas.

Call `install` before importing anything from s3prl, and get recipes from `recipe_class`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchaudio
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from bench.audio.files import SAMPLE_RATE_HZ, read_header, read_waveform
from bench.files.atomic import writing
from bench.progress import Bar, bars_are_drawn
from bench.stopwatch import measuring
from tasks.bridge.logged_bar import LoggedBar
from tasks.bridge.padded_lstm import PaddedLSTM
from tasks.bridge.silence import without_silence

_FLOAT_COLUMNS = ("start_sec", "end_sec")
_OPTIMIZER = "optimizer.pt"
"""s3prl's name of an optimizer's state."""
_NO_OPTIMIZER = "no_optimizer"
"""An empty file next to it."""


@functools.cache
def install() -> None:
    """Prepare s3prl for import. A second call does nothing."""
    logging.getLogger("s3prl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not hasattr(torchaudio, "set_audio_backend"):
            # Removed in torchaudio 2.9. s3prl calls it at import; the audio reader is replaced below anyway.
            torchaudio.set_audio_backend = lambda *_: None
        # Removed in Python 3.13. s3prl's diarization dataset imports it without using it.
        if importlib.util.find_spec("chunk") is None:
            sys.modules["chunk"] = ModuleType("chunk")
        importlib.import_module("s3prl")
        # The __init__ of both packages imports HEAR tasks, which need packages that s3prl does not install.
        _register_without_init("s3prl.problem")
        _register_without_init("s3prl.problem.common")
        _register_lazy_hub()
        _replace_audio_reader()
        rnn: Any = importlib.import_module("s3prl.nn.rnn")
        rnn.nn = SimpleNamespace(**{**vars(torch.nn), "LSTM": PaddedLSTM})
        problem: Any = importlib.import_module("s3prl.problem.base")
        problem.tqdm = progress_bar
        problem.torch = _NamingTorch("torch")
        problem.DataLoader = MeasuredLoader
        problem.SummaryWriter = NoSummary


class NoSummary:
    """Stands for tensorboard's ``SummaryWriter``, whose files nobody reads.

    An interrupt leaves that writer's thread running while the interpreter and the native libraries shut down, which can
    crash the process.
    """

    def __init__(self, *_: Any) -> None:
        pass

    def add_scalar(self, *_: Any, **__: Any) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""


class MeasuredLoader(DataLoader[Any]):
    """Torch's ``DataLoader``; the time that it takes, or that its workers are awaited, counts as ``reading``."""

    def __iter__(self) -> Any:
        """Begin an epoch. The order of its batches is drawn now, as in the base class."""
        return _measured(super().__iter__())


def _measured(batches: Iterator[Any]) -> Iterator[Any]:
    while True:
        with measuring("reading"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


class _NamingTorch(ModuleType):
    """Torch with a ``save`` whose `OSError` names the file. Torch's own error does not mention a full disk."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def save(self, state: object, path: Path) -> None:
        """Write a file. Nothing is written where `without_optimizer` marks an optimizer's state as needless."""
        path = Path(path)
        if path.name == _OPTIMIZER and (path.parent / _NO_OPTIMIZER).exists():
            return
        with writing(path) as file:
            torch.save(state, file)


def without_optimizer(folder: Path) -> None:
    """Mark a checkpoint that s3prl is about to write: it shall hold no optimizer's state."""
    (folder / _NO_OPTIMIZER).touch()
    (folder / _OPTIMIZER).unlink(missing_ok=True)


def progress_bar(*args: Any, **kwargs: Any) -> Any:
    """Draw s3prl's bar on a terminal, and log lines elsewhere. Both count: training reads its steps from the bar."""
    if bars_are_drawn():
        return Bar(*args, **{**kwargs, "file": sys.stderr, "leave": False, "mininterval": 0.5})
    return LoggedBar(*args, **kwargs)


def recipe_class(module_name: str, class_name: str) -> Any:
    """Import a recipe, such as ``SuperbKS`` of ``s3prl.problem.common.superb_ks``, with two fixes.

    It reads tables as exact text (`read_csv`), and takes utterances' lengths from the dataset's ``num_samples``
    (`known_lengths`).
    """
    install()
    recipe = getattr(importlib.import_module(module_name), class_name)
    for base in recipe.__mro__:
        module: Any = sys.modules[base.__module__]
        if hasattr(module, "pd"):
            module.pd = SimpleNamespace(read_csv=read_csv, concat=pd.concat, DataFrame=pd.DataFrame)
        if hasattr(module, "get_info"):
            module.get_info = known_lengths
    return recipe


@contextmanager
def replaced_audio_loader(recipe: type, replacement: Callable[[Any], Any]) -> Iterator[None]:
    """Replace s3prl's class ``LoadAudio`` by ``replacement(LoadAudio)`` within the block."""
    modules: list[Any] = [sys.modules[base.__module__] for base in recipe.__mro__]
    originals = {module: module.LoadAudio for module in modules if hasattr(module, "LoadAudio")}
    try:
        for module, original in originals.items():
            module.LoadAudio = replacement(original)
        yield
    finally:
        for module, original in originals.items():
            module.LoadAudio = original


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a table as text: ``NULL``, ``nan`` and ``007`` stay words.

    Only ``start_sec`` and ``end_sec`` are numbers, NaN if empty.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    for column in table.columns.intersection(list(_FLOAT_COLUMNS)):
        table[column] = pd.to_numeric(table[column])
    return table


def known_lengths(dataset: Any, names: Sequence[str], *_: Any) -> list[Any]:
    """Replace s3prl's ``get_info``, whose cache of lengths is keyed by position and goes stale.

    Speaker verification wants the lengths after its effects, which remove silence. These are found as s3prl does: by
    preparing every utterance. Diarisation wants the recordings of its chunks.

    Raises:
        NotImplementedError: the caller wants something else.
    """
    if list(names) == ["x_len", "unique_name"]:
        found = [[item[name] for name in names] for item in (dataset[index] for index in range(len(dataset)))]
        return [list(column) for column in zip(*found, strict=True)]
    if list(names) == ["record_id"]:
        return [dataset.getinfo(index)["record_id"] for index in range(len(dataset))]
    if list(names) != ["x_len"]:
        raise NotImplementedError(f"only x_len is known, not {names}")
    lengths: list[int] = dataset.num_samples
    return lengths


def apply_effects_tensor(
    waveform: torch.Tensor, sample_rate_hz: int, effects: Sequence[Sequence[str]]
) -> tuple[torch.Tensor, int]:
    """Apply the SoX effects that SUPERB's recipes use.

    They are ``channels 1``, ``rate R``, ``gain dB`` and ``silence 1 D T% -1 D T%``.
    Torchaudio's own binding needs libsox, which is no longer shipped. As in SoX, ``gain`` clips at full scale.

    Args:
        waveform: (channels, samples) float32.
        sample_rate_hz: its rate.
        effects: names with their arguments, in order.

    Returns:
        (channels, samples), and its rate.

    Raises:
        NotImplementedError: another effect, or other arguments.
    """
    for name, *arguments in effects:
        if name == "channels" and arguments == ["1"]:
            waveform = waveform.mean(dim=0, keepdim=True)
        elif name == "rate" and len(arguments) == 1:
            target_hz = int(arguments[0])
            waveform = torchaudio.functional.resample(waveform, sample_rate_hz, target_hz)
            sample_rate_hz = target_hz
        elif name == "gain" and len(arguments) == 1:
            waveform = (waveform * 10 ** (float(arguments[0]) / 20)).clamp(-1.0, 1.0)
        elif name == "silence" and arguments[:3] == ["1", *arguments[4:]] and arguments[3:4] == ["-1"]:
            duration_s, threshold = float(arguments[1]), float(arguments[2].removesuffix("%")) / 100
            kept = without_silence(waveform.squeeze(0).numpy(), sample_rate_hz, duration_s, threshold)
            waveform = torch.from_numpy(kept).unsqueeze(0)
        else:
            raise NotImplementedError(f"SoX effect {name} {' '.join(arguments)}")
    return waveform, sample_rate_hz


def _register_without_init(package: str) -> None:
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{package} is missing: s3prl 0.4.18 is expected")
    module = ModuleType(package)
    module.__spec__ = spec
    module.__package__ = package
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = module
    parent, _, name = package.rpartition(".")
    setattr(sys.modules[parent], name, module)


class _LazyHub(ModuleType):
    """Replaces ``s3prl.hub``, which imports forty upstreams that the recipes never use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop("s3prl.hub", None)
        return getattr(importlib.import_module("s3prl.hub"), name)


def _register_lazy_hub() -> None:
    if "s3prl.hub" not in sys.modules:
        hub = _LazyHub("s3prl.hub")
        sys.modules["s3prl.hub"] = hub
        sys.modules["s3prl"].hub = hub  # type: ignore[attr-defined]


def _replace_audio_reader() -> None:
    """Read audio like the rest of the suite: errors name the file, and there is one resampler."""
    load_audio: Any = importlib.import_module("s3prl.dataio.dataset.load_audio")
    load_audio.librosa = SimpleNamespace(load=_load)
    load_audio.torchaudio = SimpleNamespace(sox_effects=SimpleNamespace(apply_effects_tensor=apply_effects_tensor))


def _load(path: str, *, sr: int, offset: float, duration: float | None) -> tuple[NDArray[np.float32], int]:
    # The sample rate was checked before training. Resample every file to 16 kHz here.
    file = read_header(Path(path), resample=True)
    num_samples = None if duration is None else round(duration * SAMPLE_RATE_HZ)
    return read_waveform(file, start=round(offset * SAMPLE_RATE_HZ), num_samples=num_samples), sr
