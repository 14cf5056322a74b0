"""lhotse's cuts: JSON lines, often compressed, each of which holds its recording and supervisions."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from bench.audio.listings.cutting import Cut, cut_audio
from bench.audio.listings.listing import Listing, as_text, located, table_of
from bench.audio.listings.tables import MAX_LISTING_BYTES
from bench.errors import UserError
from bench.files.json import MAX_JSON_BYTES, parse_json_object
from bench.text import shortened

COMPRESSED = ".jsonl.gz"
_SAME_LENGTH_S = 0.001
_TRIM = "Save cuts.trim_to_supervisions(keep_overlapping=False) of lhotse."


class _Source(BaseModel):
    type: str
    source: str = ""


class _Recording(BaseModel):
    sources: list[_Source] = Field(min_length=1, max_length=1)
    duration: FiniteFloat
    channel_ids: list[int] | None = None
    transforms: list[Any] | None = None


class _Supervision(BaseModel):
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    gender: str | None = None
    custom: dict[str, Any] | None = None

    def columns(self) -> dict[str, str]:
        own = {name: getattr(self, name) for name in ("text", "speaker", "language", "gender")}
        return {name: as_text(value) for name, value in {**(self.custom or {}), **own}.items() if value is not None}


class _MonoCut(BaseModel):
    """A line of the file; further keys are ignored."""

    type: Literal["MonoCut"]
    id: str
    start: FiniteFloat
    duration: FiniteFloat
    channel: int
    supervisions: list[_Supervision]
    recording: _Recording
    custom: dict[str, Any] | None = None

    def columns(self) -> dict[str, str]:
        described = self.supervisions[0].columns() if len(self.supervisions) == 1 else {}
        custom = {name: as_text(value) for name, value in (self.custom or {}).items()}
        return {**custom, **described, "id": self.id}

    def is_whole(self) -> bool:
        is_long = abs(self.duration - self.recording.duration) < _SAME_LENGTH_S
        return self.start == 0 and is_long and len(self.recording.channel_ids or [0]) == 1


def is_cut(row: dict[str, Any]) -> bool:
    """Return whether a JSON object looks like a cut, of any kind, and not like a row of a manifest."""
    return "path" not in row and isinstance(row.get("type"), str) and row["type"].endswith("Cut")


def read_cuts(file: Path, *, with_labels: bool) -> Listing:
    """Read cuts of recordings on disk.

    The columns are id, text, speaker, language, gender, and the custom fields of cut and supervision.

    Args:
        file: ``.jsonl`` or ``.jsonl.gz``.
        with_labels: require one supervision per cut.

    Raises:
        UserError: the file is damaged; a cut is mixed, has several channels or supervisions, or its audio is not a file
            on disk or is changed when it is loaded.
    """
    cuts = [_parsed(line, f"line {number} of {file}", with_labels=with_labels) for number, line in _lines(file)]
    if not cuts:
        raise UserError(f"Expected cuts in {file}. Found none. Save a lhotse CutSet there.")
    recordings = located([cut.recording.sources[0].source for cut in cuts], file.parent, str(file))

    def audio() -> list[str]:
        parts = [
            None if cut.is_whole() else Cut(cut.id, recording, cut.start, cut.duration, cut.channel)
            for cut, recording in zip(cuts, recordings, strict=True)
        ]
        written = iter(cut_audio(file, [part for part in parts if part]))
        return [next(written) if part else str(path) for part, path in zip(parts, recordings, strict=True)]

    table = table_of(cut.columns() for cut in cuts)
    return Listing(table.drop(columns="path", errors="ignore"), audio)


def _parsed(line: str, where: str, *, with_labels: bool) -> _MonoCut:
    row = parse_json_object(line, where)
    kind = row.get("type")
    if kind != "MonoCut":
        raise UserError(
            f"Expected a MonoCut of lhotse in {where}. Found {shortened(repr(kind), 40) if kind else 'another object'}."
            " Save cuts of one channel (for a CutSet of recordings and supervisions, CutSet.from_manifests)."
        )
    try:
        cut = _MonoCut.model_validate(row)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = shortened(".".join(map(str, problem["loc"])), 60)
        raise UserError(
            f"Expected a MonoCut of lhotse in {where}. Found a mistake in {place}: {shortened(problem['msg'])}. "
            "Save the cuts again."
        ) from error
    source = cut.recording.sources[0]
    if source.type != "file" or cut.recording.transforms:
        found = "transforms" if source.type == "file" else f"a source of type {shortened(source.type, 40)!r}"
        raise UserError(
            f"Expected cuts of audio files on disk in {where}. Found {found}. Save the audio first "
            "(cuts.save_audios of lhotse)."
        )
    if with_labels and len(cut.supervisions) != 1:
        raise UserError(
            f"Expected one supervision per cut in {where}. Found {len(cut.supervisions)}. "
            f"{_TRIM if cut.supervisions else 'Add its text or labels, or remove the cut.'}"
        )
    return cut


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers. A compressed file is refused once too much has come out of it."""
    if not file.is_file():
        # Reading a pipe or a device could block, or never end.
        raise UserError(f"Expected a file of cuts. {file} is no regular file. Correct the path.")
    left = MAX_LISTING_BYTES
    number = 0
    try:
        with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as lines:
            while line := lines.readline(min(left, MAX_JSON_BYTES) + 1):
                number += 1
                left -= len(line)
                if len(line) > MAX_JSON_BYTES or left < 0:
                    raise UserError(
                        f"Expected at most {MAX_JSON_BYTES // 10**6} MB per line, and {MAX_LISTING_BYTES // 10**9} GB "
                        f"in all, of cuts in {file}. Found more in line {number}. Is it another file?"
                    )
                if line.strip():
                    yield number, line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"Expected UTF-8 in line {number} of {file}. Found other bytes. Save the cuts again."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"Expected readable cuts in {file}. Found: {error}. Save them again.") from error
