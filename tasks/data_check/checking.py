"""Checks the corpora of a data file one by one."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging import WARNING, LogRecord, getLogger
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd
from rich.progress import Progress

from bench import registry
from bench.audio.files import UnusableFilesError, hours
from bench.audio.sources import audio_left_out, source_files
from bench.config.data import describe_data, named_tasks, required_audio, task_entry
from bench.errors import UserError
from bench.registry import nearest
from tasks.corpora.splits import split_sizes
from tasks.data_check.decoding import decode_all, decoding_remarks
from tasks.data_check.known_corpora import known_size
from tasks.data_check.remarks import remarks
from tasks.data_check.report import CorpusReport, SplitReport

AUDIO = "audio"


@runtime_checkable
class ReadsTables(Protocol):
    """A task that shows its utterances. For other tasks, only the result of ``check`` is known."""

    def read(self, data: Any) -> Mapping[str, pd.DataFrame]:
        """Read the utterances by split, with at least the columns id, wav_path and num_samples."""
        ...


@dataclass
class _Corpus:
    """A report and the files it covers."""

    report: CorpusReport
    paths: dict[str, set[Path]] = field(default_factory=dict)
    """The files by split."""
    resample: bool = False


def check_data(choice: str, tasks: Collection[str] | None, *, full: bool, progress: Progress) -> list[CorpusReport]:
    """Check the corpora that a data file names.

    Args:
        choice: the file.
        tasks: tasks to check. None: all tasks and the audio for compression.
        full: decode every file.
        progress: shows the progress.

    Raises:
        UserError: the file is unusable, or has no entry for one of ``tasks``.
    """
    if choice in registry.names("bench.corpora"):
        raise UserError(
            f"Expected a YAML file. Found {choice}, which the suite makes and checks itself. To see it, run "
            f"`bench data synth DIR`, and check DIR/data.yaml."
        )
    named = named_tasks(choice)
    if unknown := [name for name in tasks or () if name not in named]:
        raise UserError(f"--tasks {unknown[0]}: {choice} has no entry for it. {nearest(unknown[0], named)}")
    corpora = []
    if tasks is None and describe_data(choice, {}, {}).audio is not None:
        with _step(progress, "Reading the audio of compression"):
            corpora.append(_check_audio(choice))
    for name in named if tasks is None else tasks:
        with _step(progress, f"Reading {name}"):
            corpora.append(_check_task(choice, name))
    _compare_with_tests(corpora)
    if full:
        _decode(corpora, progress)
    if not corpora:
        raise UserError(f"Expected the keys audio and tasks in {choice}. Found neither. Name your corpora.")
    return [corpus.report for corpus in corpora]


@contextmanager
def _step(progress: Progress, what: str) -> Iterator[None]:
    step = progress.add_task(what, total=None)
    try:
        yield
    finally:
        progress.remove_task(step)


@contextmanager
def _collected_warnings() -> Iterator[list[LogRecord]]:
    """Collect the warnings of readers, which become remarks."""
    logger = getLogger("tasks")
    collected = BufferingHandler(capacity=sys.maxsize)
    collected.setLevel(WARNING)
    handlers, logger.handlers = logger.handlers, [collected]
    try:
        yield collected.buffer
    finally:
        logger.handlers = handlers


def _check_audio(choice: str) -> _Corpus:
    source = required_audio(describe_data(choice, {}, {}))
    corpus = _Corpus(CorpusReport(AUDIO, source.layout), resample=source.resample)
    try:
        files = source_files(source)
    except UnusableFilesError as error:
        corpus.report.bad_files += error.reasons
        return corpus
    except (UserError, OSError) as error:
        corpus.report.errors.append(_one_line(error))
        return corpus
    corpus.paths["train"] = {file.path for file in files}
    corpus.report.remarks += audio_left_out(source)
    corpus.report.splits.append(SplitReport("train", len(files), hours(files)))
    return corpus


def _check_task(choice: str, name: str) -> _Corpus:
    corpus = _Corpus(CorpusReport(name))
    try:
        plugin = registry.load("bench.tasks", name)
        data = describe_data(choice, {}, {name: plugin})
        entry: Any = task_entry(plugin, data.tasks[name], f"the data {choice}, tasks.{name}")
        corpus.report.layout = getattr(entry, "layout", "")
        corpus.resample = getattr(entry, "resample", False)
        _check_entry(plugin(next(iter(plugin.presets.values()))), entry, corpus)
    except UnusableFilesError as error:
        corpus.report.bad_files += error.reasons
    except Exception as error:  # noqa: BLE001 - plug-ins may raise anything, and the other corpora must still be reported
        corpus.report.errors.append(_one_line(error))
    return corpus


def _check_entry(task: Any, entry: Any, corpus: _Corpus) -> None:
    with _collected_warnings() as warnings:
        tables = task.read(entry) if isinstance(task, ReadsTables) else {}
        sizes = split_sizes(tables) if tables else task.check(entry)
    for split, size in sizes.items():
        known = known_size(entry, split, tables[split]) if split in tables else None
        corpus.report.splits.append(SplitReport(split, size.num_utterances, size.duration_s / 3600, *(known or ())))
    corpus.paths = {split: {Path(path) for path in table["wav_path"]} for split, table in tables.items()}
    corpus.report.remarks += [record.getMessage() for record in warnings]
    corpus.report.remarks += remarks(task.name, entry, corpus.report.splits, tables)


def _compare_with_tests(corpora: Collection[_Corpus]) -> None:
    """Report test recordings that compression trains on."""
    for audio in [corpus for corpus in corpora if corpus.report.name == AUDIO]:
        for corpus in corpora:
            both = audio.paths.get("train", set()) & corpus.paths.get("test", set())
            if both:
                audio.report.remarks.append(
                    f"Compression trains on {len(both):,} test recordings of {corpus.report.name}, such as "
                    f"{min(both)}. Name only training audio, e.g. with splits."
                )


def _decode(corpora: Collection[_Corpus], progress: Progress) -> None:
    """Decode the files of all corpora, each file once."""
    resample_of = {
        path: corpus.resample for corpus in corpora for paths in corpus.paths.values() for path in sorted(paths)
    }
    step = progress.add_task("Decoding", total=len(resample_of))
    decoded = {}
    for file in decode_all(resample_of):
        decoded[file.path] = file
        progress.advance(step)
    for corpus in corpora:
        files = [decoded[path] for path in sorted(set().union(*corpus.paths.values()))]
        corpus.report.bad_files += [file.error for file in files if file.error]
        corpus.report.remarks += decoding_remarks(files)
        if not files and corpus.report.usable:
            corpus.report.remarks.append("No file was decoded, because the task does not list its files.")


def _one_line(error: Exception) -> str:
    message = " ".join(str(error).split())
    return message if isinstance(error, UserError) else f"{type(error).__name__}: {message}"
