"""The bridge to s3prl's recipe of speaker diarisation, which cuts recordings into chunks and scores whole ones."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bench.audio.files import SAMPLE_RATE_HZ, read_header, read_waveform
from bench.cache_folder import waveforms_root
from bench.contracts import Upstream
from tasks.bridge import s3prl_compat
from tasks.bridge.recipe import BridgedRecipe
from tasks.corpora.speaker_turns import spans_of_turns, speakers_of, turns_of
from tasks.feature_cache.loader import FeatureLoader, FixedCrops
from tasks.metrics.diarization import in_order_of, predicted_spans, spoken_ticks, wrong_ticks
from tasks.metrics.speaker_spans import Spans, spans_text

Scoring = tuple[float, int]
"""A threshold of probabilities, and the size of a median filter."""


class BridgedDiarization(BridgedRecipe):
    """Overrides of s3prl's ``Diarization``. Argument names are s3prl's.

    Recordings and speakers have numbers instead of names here: s3prl writes them into files of words.
    """

    def run(self, **arguments: Any) -> None:
        """Train and score, with our progress bar."""
        for module in ("s3prl.problem.diarization.util", "s3prl.problem.base"):
            cast(Any, importlib.import_module(module)).tqdm = s3prl_compat.progress_bar
        super().run(**arguments)  # type: ignore[misc]

    def prepare_data(
        self, _prepare_data: dict[str, Any], target_dir: Path, _cache_dir: Path, get_path_only: bool = False
    ) -> tuple[Path, Path, list[Path]]:
        """Write the splits as s3prl's tables of segments."""
        paths = {name: Path(target_dir) / f"{name}.csv" for name in ("train", "dev", "test")}
        if not get_path_only:
            for split, path in paths.items():
                pd.DataFrame(_segments(self.splits[split])).to_csv(path, index=False, encoding="utf-8")
        return paths["train"], paths["dev"], [paths[split] for split in self.scored]

    def build_dataset(
        self, build_dataset: dict[str, Any], target_dir: Path, cache_dir: Path, mode: str, data_csv: Path, *rest: Any
    ) -> Any:
        """Label chunks as s3prl does, and load their audio or their features as the suite does."""
        labelled = super(BridgedRecipe, self).build_dataset(build_dataset, target_dir, cache_dir, mode, data_csv, *rest)  # type: ignore[misc]
        stride = cast(Upstream, self.upstream).stride
        table = self.splits[Path(data_csv).stem]
        paths = dict(zip(_names(table), table["wav_path"], strict=True))
        audio = _ChunkAudio(
            [paths[recording] for recording, _, _, _ in labelled.chunk_indices],
            [(start * stride, end * stride) for _, _, start, end in labelled.chunk_indices],
        )
        if self.features is None:
            return _LabelledChunks(labelled, audio)
        lengths = [end - start for start, end in audio.spans]
        options = {"spans": audio.spans}
        return _LabelledChunks(
            labelled,
            FeatureLoader(FixedCrops(audio, None), options, self.features, waveforms_root(), lengths, stride),
        )

    def build_task(self, *args: Any, **kwargs: Any) -> Any:
        """Build the task; it also averages the loss, by which a diverged head is recognised."""
        task = super().build_task(*args, **kwargs)
        reduce = task.reduction

        def reduction(mode: str, cached: Sequence[Mapping[str, Any]], **options: Any) -> dict[str, Any]:
            losses = torch.stack([torch.as_tensor(one["loss"]) for one in cached])
            return {**reduce(mode, cached, **options), "loss": losses.mean().item()}

        task.reduction = reduction
        return task

    def answers(self, _task: Any, _batches: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, Any]]:
        """Return nothing: `scoring` reads the probabilities that the task has written."""
        return {}

    def scoring(
        self,
        scoring: Mapping[str, Any],
        _stage_id: int,
        test_dirs: Sequence[Path],
        _test_rttms: Sequence[Path],
        frame_shift: int,
    ) -> None:
        """Score each split at the best threshold and median filter on it, as s3prl does, without ``md-eval.pl``."""
        choices = [(threshold, size) for threshold in scoring["thresholds"] for size in scoring["median_filters"]]
        of_dev: Scoring | None = None
        for number, (split, folder) in enumerate(zip(self.scored, test_dirs, strict=True)):
            table = self.splits[split]
            references = [spans_of_turns(turns_of(cell)) for cell in table["turns"]]
            probabilities = [_read(Path(folder) / "prediction" / f"{name}.pt") for name in _names(table)]
            answered = {
                choice: [predicted_spans(each, *choice, frame_shift / SAMPLE_RATE_HZ) for each in probabilities]
                for choice in choices
            }
            rates = {choice: error_rate(references, predictions) for choice, predictions in answered.items()}
            best = min(rates, key=lambda choice: rates[choice])
            metrics, _ = self.results[number]
            metrics |= {"scoring_der": rates[best], "scoring_threshold": best[0], "scoring_median_filter": best[1]}
            if of_dev is not None:
                metrics["scoring_der_at_the_best_on_dev"] = rates[of_dev]
            of_dev = best if split == "dev" else of_dev
            texts = (
                (spans_text(true), spans_text(in_order_of(true, found)))
                for true, found in zip(references, answered[best], strict=True)
            )
            self.results[number] = (metrics, dict(zip(table["id"], texts, strict=True)))


def error_rate(references: Sequence[Sequence[Spans]], predictions: Sequence[Sequence[Spans]]) -> float:
    """Return the diarisation error rate of all recordings together."""
    wrong = sum(wrong_ticks(true, found) for true, found in zip(references, predictions, strict=True))
    return wrong / sum(map(spoken_ticks, references))


class _ChunkAudio:
    """Loads parts of recordings, like s3prl's ``LoadAudio`` loads whole ones."""

    def __init__(self, filepaths: list[str], spans: list[tuple[int, int]]) -> None:
        """Take one file and one span of samples at 16 kHz per chunk."""
        self.filepaths = filepaths
        self.spans = spans

    def __getitem__(self, index: int) -> dict[str, Any]:
        start, end = self.spans[index]
        # The sample rate was checked before training. Resample every file to 16 kHz here.
        file = _header(self.filepaths[index])
        waveform = torch.from_numpy(read_waveform(file, start=start, num_samples=end - start))
        return {"wav": waveform, "wav_len": len(waveform)}


@functools.lru_cache(maxsize=4096)
def _header(path: str) -> Any:
    return read_header(Path(path), resample=True)


class _LabelledChunks(Dataset[dict[str, Any]]):
    """The labels of s3prl's ``DiarizationDataset``, with audio or features."""

    def __init__(self, labelled: Any, audio: Any) -> None:
        labelled.data.load_wav = _no_audio
        self._labelled = labelled
        self._audio = audio

    def __len__(self) -> int:
        return len(self._labelled)

    def getinfo(self, index: int) -> dict[str, Any]:
        info: dict[str, Any] = self._labelled.getinfo(index)
        return info

    def __getitem__(self, index: int) -> dict[str, Any]:
        labels = self._labelled[index]
        loaded = self._audio[index]
        return {**labels, "x": loaded["wav"], "x_len": loaded["wav_len"]}


def _no_audio(*_: Any) -> tuple[tuple[()], int]:
    """Stand for s3prl's reader of audio, which runs commands of ``wav.scp``."""
    return (), SAMPLE_RATE_HZ


def _names(table: pd.DataFrame) -> list[str]:
    return [f"recording{number}" for number in range(len(table))]


def _segments(table: pd.DataFrame) -> Iterable[dict[str, Any]]:
    rows = []
    for name, cell, duration_s in zip(_names(table), table["turns"], table["recorded_s"], strict=True):
        turns = turns_of(cell)
        # s3prl orders the labels by the speakers' names.
        speakers = speakers_of(turns)
        rows += [
            {
                "record_id": name,
                "wav_path": name,
                "duration": duration_s,
                "utt_id": f"{name}-{number}",
                "speaker": speakers.index(turn.speaker),
                "start_sec": turn.start_s,
                "end_sec": turn.end_s,
            }
            for number, turn in enumerate(turns)
        ]
    return rows


def _read(path: Path) -> NDArray[Any]:
    probabilities: Tensor = torch.load(path, weights_only=True)
    return probabilities.numpy()
