# ruff: noqa: RUF001 - IPA looks like other letters
"""Annotated units: the phones of ``phones.jsonl`` and the speakers of the manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile
from bench.audio.manifest import read_manifest
from bench.contracts import AudioSource
from bench.errors import UserError
from bench.upstream import UpstreamConfig
from compressors.units.labels import FrameUnits, Labels

PHONES = "phones.jsonl"
"""A file next to the manifest, or in the folder of the audio. Each line has a ``path``, relative to that folder, and
``phones``, a list of onset and end in seconds and the phone in IPA."""

SILENCE = "silence"
RARE = "rare"
RARE_SHARE = 1e-3
"""Phones with a smaller share of all phones form one unit together."""

Span = tuple[float, float, str]

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
    table = read_manifest(source.manifest, ("path", "speaker"))
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
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            phones = [(float(onset), float(end), str(phone)) for onset, end, phone in row["phones"]]
            spans[path.parent / row["path"]] = phones
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"Expected an object with path and phones ([onset, end, phone] each) in line {number} of {path}. "
                f"It cannot be read ({error!r}). Make the file again."
            ) from error
    for file in files:
        if file.path not in spans:
            raise UserError(f"Expected the phones of {file.path} in {path}. Found none. Make the file again.")
    return spans
