"""The embedded corpora on disk: made once, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import platformdirs

from bench.contracts import Data
from bench.errors import UserError
from tasks.mini.keywords import Keywords
from tasks.mini.manifest import read_manifest, write_manifest
from tasks.mini.randomness import GENERATOR_VERSION
from tasks.mini.synthesis import check_synthesizer
from tasks.mini.transcripts import Transcripts
from tasks.mini.utterances import MiniCorpus, Utterance

TRANSCRIPTS = Transcripts()
CORPORA: tuple[MiniCorpus, ...] = (Keywords(), TRANSCRIPTS)
IDENTITY = "corpus.json"
ELSEWHERE = "Mend that, or choose another folder (for the cache: SUPERB_BENCH_CACHE)."
FREE_BYTES_NEEDED = 200 * 2**20
ABANDONED_AFTER_S = 24 * 3600


def cache_root() -> Path:
    """Where the suite caches: ``$SUPERB_BENCH_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("SUPERB_BENCH_CACHE")
    return Path(chosen).absolute() if chosen else platformdirs.user_cache_path("superb-bench")


def version_of(seed: int, scale: float = 1.0) -> str:
    """Name the content of the corpora."""
    return f"{GENERATOR_VERSION}-seed{seed}" + ("" if scale == 1.0 else f"-scale{scale:g}")


class MiniCorpora:
    """Synthetic mini corpora (``--data mini``): a proving ground, not evidence about SUPERB."""

    version: ClassVar[str] = version_of(seed=0)

    def __init__(
        self,
        folder: Path | None = None,
        *,
        seed: int = 0,
        scale: float = 1.0,
        num_processes: int | None = None,
    ):
        """Say which corpora are meant; nothing is made yet.

        Args:
            folder: where they lie; by default ``mini/<version>`` in the cache.
            seed: another seed gives other speakers, sentences and noise.
            scale: multiplies the number of speakers; below 1 for tests.
            num_processes: synthesiser processes, by default one a core; the audio does not depend on it.
        """
        self.identity = version_of(seed, scale)
        self.folder = folder.absolute() if folder else cache_root() / "mini" / self.identity
        self._seed, self._scale = seed, scale
        self._num_processes = num_processes or os.cpu_count() or 1

    def data(self) -> Data:
        """Say where the corpora are or will be; makes nothing."""
        return Data(
            name="mini",
            version=self.identity,
            audio=TRANSCRIPTS.training_audio(self.folder / TRANSCRIPTS.name),
            tasks={corpus.name: corpus.task_data(self.folder / corpus.name) for corpus in CORPORA},
        )

    def prepare(self) -> Data:
        """Make what is missing, with a progress bar on standard error, and say where it is.

        Raises:
            UserError: no synthesiser, no room or permission to write, or a damaged or foreign folder in the way.
        """
        missing = [corpus for corpus in CORPORA if not self._is_complete(corpus)]
        if missing:
            check_synthesizer()
            try:
                self._make(missing)
            except OSError as error:
                raise UserError(
                    f"The embedded corpora cannot be written below {self.folder}: {error.strerror or error}. "
                    f"{ELSEWHERE}"
                ) from error
        return self.data()

    def manifests(self) -> dict[str, list[dict[str, str]]]:
        """Read the manifest of every corpus; they must be there."""
        return {corpus.name: read_manifest(self.folder / corpus.name) for corpus in CORPORA}

    def _is_complete(self, corpus: MiniCorpus) -> bool:
        """Tell a complete corpus from none at all.

        Raises:
            UserError: something else is in its place.
        """
        folder = self.folder / corpus.name
        if not folder.exists():
            return False
        remedy = "Delete that folder and run the command again."
        try:
            version = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))["version"]
            lost = [row["path"] for row in read_manifest(folder) if not (folder / row["path"]).is_file()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"Expected an embedded corpus. {folder} is damaged or not one ({error}). {remedy}"
            ) from error
        if version != self.identity:
            raise UserError(
                f"Expected version {self.identity} of the embedded corpora. {folder} holds {version!r}. {remedy}"
            )
        if lost:
            raise UserError(f"Expected a whole embedded corpus. {folder} lacks {len(lost)} files ({lost[0]}). {remedy}")
        return True

    def _make(self, corpora: Sequence[MiniCorpus]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(self.folder)
        self._check_room()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for corpus in corpora:
                utterances = corpus.utterances(self._seed, self._scale)
                bar = progress.add_task(f"Synthesising the {corpus.name} corpus", total=len(utterances))
                self._make_one(corpus, utterances, partial(progress.advance, bar))

    def _make_one(self, corpus: MiniCorpus, utterances: Sequence[Utterance], advance: Callable[[], None]) -> None:
        """Make a corpus beside its place and move it there: it is there whole or not at all."""
        from tasks.mini.generation import generate

        unfinished = self.folder / f".{corpus.name}-unfinished-{uuid.uuid4().hex}"
        unfinished.mkdir()
        try:
            manifest = generate(
                utterances, unfinished, seed=self._seed, num_processes=self._num_processes, advance=advance
            )
            corpus.write_tables(unfinished, utterances, manifest)
            write_manifest(manifest, unfinished)
            identity = {
                "version": self.identity,
                "num_files": len(manifest),
                "duration_s": round(sum(row.duration_s for row in manifest), 3),
                "audio_sha256": hashlib.sha256("".join(row.sha256 for row in manifest).encode()).hexdigest(),
            }
            (unfinished / IDENTITY).write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
            self._put_in_place(unfinished, corpus)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _put_in_place(self, unfinished: Path, corpus: MiniCorpus) -> None:
        try:
            unfinished.rename(self.folder / corpus.name)
        except OSError:
            # Another process was faster: its corpus is the same as ours.
            if not self._is_complete(corpus):
                raise

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        needed = int(FREE_BYTES_NEEDED * self._scale)
        if free < needed:
            raise UserError(
                f"The embedded corpora need {needed / 2**20:.0f} MiB. {self.folder} has {free / 2**20:.0f} MiB free. "
                f"{ELSEWHERE}"
            )


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left; what is young may belong to a process at work."""
    for unfinished in folder.glob(".*-unfinished-*"):
        if time.time() - unfinished.stat().st_mtime > ABANDONED_AFTER_S:
            shutil.rmtree(unfinished, ignore_errors=True)
