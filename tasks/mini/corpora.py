"""The embedded corpora on disk: made once, each complete or absent."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from bench.cache_folder import cache_root
from bench.contracts import AudioSource, Data
from bench.errors import UserError
from tasks.corpora.embedded_manifest import IDENTITY, read_manifest
from tasks.mini.emotions import Emotions
from tasks.mini.intents import Intents
from tasks.mini.keywords import Keywords
from tasks.mini.randomness import GENERATOR_VERSION
from tasks.mini.reference_audio import differs_from_reference
from tasks.mini.slots import Slots
from tasks.mini.speaker_identities import SpeakerIdentities
from tasks.mini.speaker_trials import SpeakerTrials
from tasks.mini.spoken_queries import SpokenQueries
from tasks.mini.synthesis import check_synthesizer
from tasks.mini.transcripts import LEXICON, Transcripts
from tasks.mini.two_speakers import TwoSpeakers
from tasks.mini.unlabelled import Unlabelled
from tasks.mini.utterances import MiniCorpus

logger = logging.getLogger(__name__)

TRANSCRIPTS = Transcripts()
SPEAKER_TRIALS = SpeakerTrials()
TWO_SPEAKERS = TwoSpeakers()
SPOKEN_QUERIES = SpokenQueries()
CORPORA: tuple[MiniCorpus, ...] = (
    Keywords(),
    TRANSCRIPTS,
    SpeakerIdentities(),
    Emotions(),
    Intents(),
    Slots(),
    SPEAKER_TRIALS,
    TWO_SPEAKERS,
    SPOKEN_QUERIES,
)
PHONEME_TASK = "pr"
"""Has no corpus of its own: it uses that of ASR with a lexicon."""
ELSEWHERE = "Fix that, or choose another folder (for the cache: SUPERB_BENCH_CACHE)."
BYTES_PER_UTTERANCE = 120_000
"""A generous estimate, from the longest utterances."""


def version_of(seed: int, scale: float = 1.0) -> str:
    """Name the content of the corpora."""
    return f"{GENERATOR_VERSION}-seed{seed}" + ("" if scale == 1.0 else f"-scale{scale:g}")


class MiniCorpora:
    """Synthetic mini corpora (``--data mini``) for tests and examples. Their scores say nothing about SUPERB."""

    name: ClassVar[str] = "mini"
    version: ClassVar[str] = version_of(seed=0)

    def __init__(
        self,
        folder: Path | None = None,
        *,
        seed: int = 0,
        scale: float = 1.0,
        num_processes: int | None = None,
    ):
        """Choose corpora without making them.

        Args:
            folder: their folder; by default ``mini/<version>`` in the cache.
            seed: another seed gives other speakers, sentences and noise.
            scale: multiplies the number of speakers; below 1 for tests.
            num_processes: synthesiser processes, by default one per core. The audio does not depend on it.
        """
        self.identity = version_of(seed, scale)
        self.folder = folder.absolute() if folder else cache_root() / "mini" / self.identity
        self._seed, self._scale = seed, scale
        self._num_processes = num_processes or os.cpu_count() or 1

    def data(self) -> Data:
        """Return the corpora's location, without making them."""
        return Data(
            name=self.name,
            embedded=self.name,
            version=self.identity,
            audio=TRANSCRIPTS.training_audio(self.folder / TRANSCRIPTS.name),
            tasks=self._task_data(CORPORA),
        )

    def _task_data(self, corpora: Iterable[MiniCorpus]) -> dict[str, dict[str, Any]]:
        """Return the data entry of each task."""
        entries = {corpus.name: corpus.task_data(self.folder / corpus.name) for corpus in corpora}
        if TRANSCRIPTS.name in entries:
            entry = entries[TRANSCRIPTS.name]
            entries[PHONEME_TASK] = {**entry, "lexicon": Path(entry["root"]) / LEXICON}
        return entries

    def prepare(self, tasks: Collection[str] | None = None) -> Data:
        """Make missing corpora, with a progress bar on standard error, and return their location.

        Args:
            tasks: names of the tasks to make corpora for, by default all. The audio for compression is always made.

        Raises:
            UserError: there is no synthesiser, no space or no permission to write, or a damaged or foreign folder is
                in the way.
        """
        wanted = [
            corpus for corpus in CORPORA if tasks is None or corpus.name in tasks or corpus.name == TRANSCRIPTS.name
        ]
        for corpus in wanted:
            self._prepare_one(corpus, self.identity)
        hashes = self._audio_sha256(wanted)
        for name in differs_from_reference(self.identity, hashes):
            logger.info(
                "The mini %s corpus has the right content (version %s), but its audio differs in bits from the "
                "authors', because of another processor or library. Scores may differ slightly from published ones.",
                name,
                self.identity,
            )
        return self.data().model_copy(update={"audio_sha256": hashes})

    def prepare_unlabelled(self, hours: float, *, clean: bool = False) -> AudioSource:
        """Make unlabelled speech for compression and pretraining, like `prepare`.

        Args:
            hours: amount of speech, accurate to a few percent.
            clean: make it without noise and rooms.
        """
        held_out = {
            utterance.text.lower()
            for corpus in CORPORA
            # Their texts are no labels, and this speech was fixed before these corpora were added.
            if corpus not in (SPEAKER_TRIALS, TWO_SPEAKERS, SPOKEN_QUERIES)
            for utterance in corpus.utterances(self._seed, 1.0)
            if utterance.split != "train"
        }
        corpus = Unlabelled(hours, held_out, clean=clean)
        self._prepare_one(corpus, f"{self.identity}-hours{hours:g}{'-clean' if clean else ''}")
        return Unlabelled.training_audio(self.folder / corpus.name)

    def there(self) -> Data:
        """Return the corpora made so far. Unlabelled speech, if it exists, is the audio for compression."""
        made = [corpus for corpus in CORPORA if (self.folder / corpus.name / IDENTITY).is_file()]
        everything = self.data()
        audio = everything.audio if TRANSCRIPTS in made else None
        if (self.folder / Unlabelled.name / IDENTITY).is_file():
            audio = Unlabelled.training_audio(self.folder / Unlabelled.name)
        tasks = self._task_data(made)
        return everything.model_copy(update={"audio": audio, "tasks": tasks, "audio_sha256": self._audio_sha256(made)})

    def manifests(self) -> dict[str, list[dict[str, str]]]:
        """Read the manifest of every existing corpus, including the unlabelled speech."""
        names = [*(corpus.name for corpus in CORPORA), Unlabelled.name]
        return {name: read_manifest(self.folder / name) for name in names if (self.folder / name / IDENTITY).is_file()}

    def _audio_sha256(self, corpora: Iterable[MiniCorpus]) -> dict[str, str]:
        hashes = {corpus.name: str(self.read_identity(corpus.name)["audio_sha256"]) for corpus in corpora}
        return {**hashes, PHONEME_TASK: hashes[TRANSCRIPTS.name]} if TRANSCRIPTS.name in hashes else hashes

    def read_identity(self, name: str) -> dict[str, Any]:
        """Read ``corpus.json`` of a corpus: version, hash of the audio, software."""
        identity: dict[str, Any] = json.loads((self.folder / name / IDENTITY).read_text(encoding="utf-8"))
        return identity

    def _prepare_one(self, corpus: MiniCorpus, version: str) -> None:
        if self._is_complete(corpus, version):
            return
        check_synthesizer()
        try:
            self._make(corpus, version)
        except OSError as error:
            raise UserError(
                f"The embedded corpora cannot be written below {self.folder}: {error.strerror or error}. {ELSEWHERE}"
            ) from error

    def _is_complete(self, corpus: MiniCorpus, version: str) -> bool:
        """Return whether the corpus is complete (True) or absent (False).

        Raises:
            UserError: its folder is damaged or holds something else.
        """
        folder = self.folder / corpus.name
        if not folder.exists():
            return False
        remedy = "Delete that folder and run the command again."
        try:
            found = self.read_identity(corpus.name)["version"]
            lost = [row["path"] for row in read_manifest(folder) if not (folder / row["path"]).is_file()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"Expected an embedded corpus. {folder} is damaged or not one ({error}). {remedy}"
            ) from error
        if found != version:
            raise UserError(f"Expected version {version} of the embedded corpora. {folder} holds {found!r}. {remedy}")
        if lost:
            raise UserError(
                f"Expected a complete embedded corpus. {folder} lacks {len(lost)} files ({lost[0]}). {remedy}"
            )
        return True

    def _make(self, corpus: MiniCorpus, version: str) -> None:
        from bench.progress import Progress
        from tasks.mini.building import build, sole_builder

        self.folder.mkdir(parents=True, exist_ok=True)
        utterances = corpus.utterances(self._seed, self._scale)
        self._check_room(len(utterances) * BYTES_PER_UTTERANCE)
        place = self.folder / corpus.name
        waiting = partial(logger.info, "waiting: another process is making the %s corpus", corpus.name)
        with sole_builder(place, waiting):
            if self._is_complete(corpus, version):
                return
            logger.info("synthesising the %s corpus: %d recordings", corpus.name, len(utterances))
            progress = Progress(f"synthesising {corpus.name}", len(utterances), unit="recordings")
            build(
                corpus,
                utterances,
                place,
                version=version,
                seed=self._seed,
                num_processes=self._num_processes,
                advance=progress.add,
            )
            progress.close()

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UserError(
                f"The embedded corpora need {needed / 2**20:.0f} MiB. {self.folder} has {free / 2**20:.0f} MiB free. "
                f"{ELSEWHERE}"
            )
