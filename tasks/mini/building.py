"""Builds a corpus in a draft folder, resumes after a kill, and moves the complete corpus into place."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from bench.store.claims import CACHE_REMEDY, require_locks
from tasks.corpora.embedded_manifest import IDENTITY, ManifestRow, write_manifest
from tasks.mini.generation import Recording, generate
from tasks.mini.phones import write_phones
from tasks.mini.utterances import MiniCorpus, Utterance

_JOURNAL = "journal.jsonl"


def build(
    corpus: MiniCorpus,
    utterances: Sequence[Utterance],
    place: Path,
    *,
    version: str,
    seed: int,
    num_processes: int,
    advance: Callable[[int], None],
) -> None:
    """Build a corpus at ``place``, which must not exist. The caller must hold `sole_builder`.

    After a kill, the same call resumes with the finished recordings. ``place`` appears only once it is complete.

    Args:
        corpus: the corpus to build.
        utterances: the recordings to make.
        place: the folder to create.
        version: version of the content, stored with the audio.
        seed: seed of the corpora.
        num_processes: see `generate`.
        advance: called with the number of recordings added.
    """
    synthesizer = importlib.metadata.version("espeakng-loader")
    unfinished = place.with_name(f".{place.name}-{version}-{synthesizer}-unfinished")
    for other in place.parent.glob(f".{place.name}-*-unfinished"):
        if other != unfinished:
            shutil.rmtree(other)
    unfinished.mkdir(exist_ok=True)
    with _Journal(unfinished) as journal:
        advance(len(journal.recordings))
        missing = [utterance for utterance in utterances if utterance.path not in journal.recordings]

        def keep(recording: Recording) -> None:
            journal.add(recording)
            advance(1)

        generate(missing, unfinished, seed=seed, num_processes=num_processes, made=keep)
        recordings = [journal.recordings[utterance.path] for utterance in utterances]
    manifest = [recording.row for recording in recordings]
    corpus.write_tables(unfinished, utterances, manifest)
    write_manifest(manifest, unfinished)
    write_phones(((recording.row.path, recording.phones) for recording in recordings), unfinished)
    identity = {
        "version": version,
        "num_files": len(manifest),
        "duration_s": round(sum(row.duration_s for row in manifest), 3),
        "audio_sha256": audio_sha256(manifest),
        "synthesizer": f"espeakng-loader {synthesizer}",
        "machine": f"{platform.system()} {platform.machine()}",
    }
    (unfinished / IDENTITY).write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
    (unfinished / _JOURNAL).unlink()
    unfinished.rename(place)


def audio_sha256(manifest: Sequence[ManifestRow]) -> str:
    """Hash the audio of a corpus: the hash of the files' hashes, in the manifest's order."""
    return hashlib.sha256("".join(row.sha256 for row in manifest).encode()).hexdigest()


@contextmanager
def sole_builder(place: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Keep other processes from building at ``place``. Calls ``wait`` once if it must wait for another process.

    Raises:
        UserError: the file system has no locks.
    """
    require_locks(place.parent, CACHE_REMEDY)
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _Journal:
    """Lists the finished recordings of an unfinished corpus, one per line, each added after its audio."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self.recordings: dict[str, Recording] = {}

    def __enter__(self) -> _Journal:
        path = self._folder / _JOURNAL
        if path.is_file():
            lines = path.read_bytes().split(b"\n")
            # The last line may be incomplete.
            self.recordings = {
                recording.row.path: recording
                for recording in map(_recording, map(json.loads, lines[:-1]))
                if self._is_on_disk(recording.row)
            }
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(_line(recording) for recording in self.recordings.values())
        draft.replace(path)
        self._file = path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, recording: Recording) -> None:
        with self._lock:
            self._file.write(_line(recording))
            self._file.flush()
            self.recordings[recording.row.path] = recording

    def _is_on_disk(self, row: ManifestRow) -> bool:
        path = self._folder / row.path
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256


def _line(recording: Recording) -> str:
    return json.dumps({"row": asdict(recording.row), "phones": recording.phones}) + "\n"


def _recording(line: Mapping[str, Any]) -> Recording:
    return Recording(row=ManifestRow(**line["row"]), phones=[tuple(span) for span in line["phones"]])
