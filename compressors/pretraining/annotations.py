# ruff: noqa: RUF001 - IPA looks like other letters
"""Annotated units: the phones of ``phones.jsonl`` and the speakers of the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile
from bench.audio.sources import read_source_manifest
from bench.contracts import AudioSource
from bench.errors import UserError
from bench.files.json import parse_json
from bench.files.text import read_text
from bench.text import shortened
from bench.upstream import UpstreamConfig
from compressors.units.labels import FrameUnits, Labels

PHONES = "phones.jsonl"
"""A file next to the manifest, or in the folder of the audio. Each line has a ``path``, relative to that folder, and
``phones``, a list of onset and end in seconds and the phone in IPA."""

SILENCE = "silence"
RARE = "rare"
RARE_SHARE = 1e-3
"""Phones with a smaller share of all phones form one unit together."""

MAX_PHONES_BYTES = 10**9

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Span = tuple[Seconds, Seconds, str]

DIACRITICS = str.maketrans("", "", "ˈˌː:̩̪ʲ")
"""Stress, length, syllabicity, dentality and palatalisation are ignored."""

FOLDED = {
    "a": "æ",
    "aa": "ɑ",
    "ɑə": "ɑ",
    "ɑɹ": "ɑ",
    "aɪə": "aɪ",
    "aɪɚ": "aɪ",
    "æʊ": "aʊ",
    "ʌʉ": "aʊ",
    "ʌʊ": "aʊ",
    "ɐ": "ə",
    "ɜ": "ɚ",
    "ʌɹ": "ɚ",
    "e": "ɛ",
    "ei": "eɪ",
    "ɛɹ": "eə",
    "əl": "l",
    "əʊ": "oʊ",
    "əu": "oʊ",
    "o": "oʊ",
    "iə": "ɪə",
    "ɪɹ": "ɪə",
    "ᵻ": "ɪ",
    "oə": "ɔ",
    "ɔə": "ɔ",
    "ɔɹ": "ɔ",
    "oɪ": "ɔɪ",
    "ʉ": "u",
    "ʉɹ": "ʊə",
    "ʊɹ": "ʊə",
    "r": "ɹ",
    "ɾ": "t",
    "ʔ": "t",
    "ʍ": "w",
}
"""The class of phone variants of English accents, without diacritics."""


def folded(phone: str) -> str:
    """Return the class of a phone in IPA."""
    plain = phone.translate(DIACRITICS)
    return FOLDED.get(plain, plain)


def phone_units(files: Sequence[AudioFile], source: AudioSource, config: UpstreamConfig) -> FrameUnits:
    """Label every frame with the phone at its centre, or as silence.

    Args:
        files: files to label.
        source: source of the files and of ``phones.jsonl``.
        config: shape of the model, which defines the frames.

    Raises:
        UserError: no such file, a torn one, or one that knows nothing of some audio.
    """
    spans = _read_spans(files, _folder(source) / PHONES)
    counts = Counter(folded(phone) for each in spans.values() for _, _, phone in each)
    total = sum(counts.values())
    frequent = sorted(phone for phone, count in counts.items() if count >= RARE_SHARE * total)
    names = (SILENCE, RARE, *frequent)
    numbers = {name: number for number, name in enumerate(names)}
    labels = {file.path: _frame_labels(spans[file.path], numbers, file.num_samples, config) for file in files}
    return FrameUnits(labels, len(names), names)


def _frame_labels(
    spans: Iterable[Span], numbers: Mapping[str, int], num_samples: int, config: UpstreamConfig
) -> Labels:
    num_frames = config.num_frames(num_samples)
    centres_s = (np.arange(num_frames) * config.stride + config.window / 2) / SAMPLE_RATE_HZ
    labels = np.full(num_frames, numbers[SILENCE], np.int16)
    for onset_s, end_s, phone in spans:
        first, last = np.searchsorted(centres_s, [onset_s, end_s])
        labels[first:last] = numbers.get(folded(phone), numbers[RARE])
    return labels


def speaker_units(files: Sequence[AudioFile], source: AudioSource, config: UpstreamConfig) -> FrameUnits:
    """Label all frames of an utterance with its speaker, as the manifest's column ``speaker`` names them.

    Raises:
        UserError: the audio has no manifest, or one without speakers.
    """
    if source.layout != "manifest" or source.manifest is None:
        raise UserError(f"Expected audio with layout manifest for units=speakers. Found layout {source.layout}.")
    table = read_source_manifest(source, ("path", "speaker"))
    speaker_of = {
        source.manifest.parent / path: name for path, name in zip(table["path"], table["speaker"], strict=True)
    }
    names = tuple(sorted({speaker_of[file.path] for file in files}))
    numbers = {name: number for number, name in enumerate(names)}
    labels = {
        file.path: np.full(config.num_frames(file.num_samples), numbers[speaker_of[file.path]], np.int16)
        for file in files
    }
    return FrameUnits(labels, len(names), names)


class _PhonesOfFile(BaseModel):
    """A line of ``phones.jsonl``; further keys are ignored."""

    path: str
    phones: list[Span]


def _folder(source: AudioSource) -> Path:
    if source.layout == "manifest" and source.manifest is not None:
        return source.manifest.parent
    return source.root or Path()


def _read_spans(files: Sequence[AudioFile], path: Path) -> dict[Path, list[Span]]:
    if not path.is_file():
        raise UserError(
            f"Expected the phones of the audio in {path} for units=phones. Found no such file. "
            "Make speech with `bench data synth --unlabelled`, or use units=mfcc."
        )
    spans: dict[Path, list[Span]] = {}
    for number, line in enumerate(read_text(path, max_bytes=MAX_PHONES_BYTES).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number} of {path}"
        try:
            row = _PhonesOfFile.model_validate(parse_json(line, where))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise UserError(
                f"Expected an object with path and phones ([onset, end, phone] each) in {where}. "
                f"Found {shortened(place, 40)} to be wrong: {first['msg']}. Make the file again."
            ) from error
        spans[path.parent / row.path] = row.phones
    for file in files:
        if file.path not in spans:
            raise UserError(f"Expected the phones of {file.path} in {path}. Found none. Make the file again.")
    return spans
