"""``phones.jsonl``: the time of every phone, as placed by the synthesiser."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.mini.synthesis import Speech

PHONES = "phones.jsonl"

Phones = Sequence[tuple[float, float, str]]
"""Onset and end in seconds of the recording, and the phone in IPA with marked stress. Pauses are left out."""


def placed_phones(
    speech: Speech, sample_rate_hz: int, *, cut_s: float, kept_s: float, start_s: float, duration_s: float
) -> Phones:
    """Compute the times of phones in the recording of a synthesised utterance.

    Args:
        speech: the synthesiser's output.
        sample_rate_hz: playback rate of its samples, including the formant scale.
        cut_s: length of the silence cut off at its beginning.
        kept_s: length of the kept speech.
        start_s: start of the kept speech in the recording.
        duration_s: length of the recording.
    """
    onsets = [onset for onset, _ in speech.phones]
    ends = [*onsets[1:], len(speech.samples)]
    last_s = min(start_s + kept_s, duration_s)
    phones = []
    for (onset, phone), end in zip(speech.phones, ends, strict=True):
        begun_s = max(start_s, onset / sample_rate_hz - cut_s + start_s)
        ended_s = min(last_s, end / sample_rate_hz - cut_s + start_s)
        if phone and ended_s > begun_s:
            phones.append((round(begun_s, 4), round(ended_s, 4), phone))
    return phones


def write_phones(phones: Iterable[tuple[str, Phones]], folder: Path) -> None:
    """Write one line per recording: its path, relative to the folder, and its phones."""
    with (folder / PHONES).open("w", encoding="utf-8") as file:
        for path, spans in phones:
            file.write(json.dumps({"path": path, "phones": spans}, ensure_ascii=False) + "\n")


def read_phones(folder: Path) -> Iterator[tuple[str, Phones]]:
    """Read the lines back, in the manifest's order."""
    with (folder / PHONES).open(encoding="utf-8") as file:
        for line in file:
            row: Mapping[str, object] = json.loads(line)
            yield str(row["path"]), [tuple(span) for span in row["phones"]]  # type: ignore[attr-defined]
