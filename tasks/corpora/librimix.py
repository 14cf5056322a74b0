"""LibriMix's data folders for speaker diarisation, and users' own recordings with RTTM files."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from bench.audio.files import SAMPLE_RATE_HZ, read_headers
from bench.audio.listings.kaldi import SEGMENTS, SPEAKERS, WAV_SCP, read_keyed, read_recordings, read_segments
from bench.contracts import Settings
from bench.errors import UserError
from bench.files.paths import is_possible
from bench.text import shortened
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.corpora.rttm import read_rttm
from tasks.corpora.speaker_turns import Turn, with_turns
from tasks.corpora.splits import SPLITS

DURATIONS = "reco2dur"
_LARGEST_DIFFERENCE_S = 0.1
_ROUNDING_S = 0.01
_MADE_BY = "scripts/prepare_diarization.py of github.com/s3prl/LibriMix writes it"


class LibriMixData(Settings):
    """Libri2Mix, or your own mixtures of two speakers in its layout."""

    layout: Literal["librimix"] = "librimix"
    """Kaldi's data folders ``train``, ``dev`` and ``test``, each with ``wav.scp``, ``segments``, ``utt2spk`` and
    ``reco2dur``."""
    root: Path
    """Folder with these folders, the ``--target_dir`` of LibriMix's ``prepare_diarization.py``."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


class ManifestMixturesData(ManifestData):
    """Your own recordings of up to two speakers.

    The column ``rttm`` names an RTTM file, relative to the manifest. The file calls a recording by its ``id``, or by
    the name of the audio file without suffix.
    """


def read_librimix(data: LibriMixData) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``train``, ``dev`` and ``test``.

    Returns:
        Tables with the columns id, wav_path, num_samples, recorded_s (the length by ``reco2dur``, which decides the
        number of frames in s3prl; that of the audio if this is shorter), turns (see `tasks.corpora.speaker_turns`) and
        speakers, in the order of ``wav.scp``.

    Raises:
        UserError: a file is missing, malformed or contradictory, or audio is missing, unreadable or not 16 kHz.
    """
    return {split: _read_split(data, split) for split in SPLITS}


def read_own_mixtures(data: ManifestMixturesData) -> dict[str, pd.DataFrame]:
    """Read a user's own recordings, like `read_librimix`."""
    splits = read_own_data(data, ("rttm",))
    known: dict[str, dict[str, list[Turn]]] = {}
    tables = {}
    for split, table in splits.items():
        turns = []
        for name, path, rttm in zip(table["id"], table["path"], table["rttm"], strict=True):
            if rttm not in known:
                known[rttm] = _read_listed(rttm, data.manifest)
            turns.append(_turns_in(known[rttm], (name, Path(path).stem), rttm))
        table = with_turns(table.drop(columns="rttm"), turns, split, data.manifest)  # noqa: PLW2901
        tables[split] = table.assign(recorded_s=table["num_samples"] / SAMPLE_RATE_HZ)
    return tables


def _read_listed(rttm: str, manifest: Path) -> dict[str, list[Turn]]:
    if not is_possible(rttm):
        raise UserError(f"Expected paths of RTTM files in {manifest}. Found {shortened(repr(rttm))}. Correct it.")
    return read_rttm(manifest.parent / rttm)


def _turns_in(recordings: Mapping[str, list[Turn]], names: tuple[str, str], rttm: str) -> list[Turn]:
    found = next((name for name in names if name in recordings), None)
    if found is None:
        raise UserError(
            f"Expected lines of the recording {shortened(names[0], 80)} in the RTTM file {shortened(rttm, 80)}. Found "
            f"others, such as {shortened(next(iter(recordings)), 60)}. Call it by the recording's id, or by its file's "
            "name without suffix."
        )
    return recordings[found]


def _read_split(data: LibriMixData, split: str) -> pd.DataFrame:
    folder = data.root / split
    for name in (WAV_SCP, SEGMENTS, SPEAKERS, DURATIONS):
        if not (folder / name).is_file():
            raise UserError(
                f"Expected LibriMix's folder {split} with {WAV_SCP}, {SEGMENTS}, {SPEAKERS} and {DURATIONS} in "
                f"{data.root}. Found no file {split}/{name}. {_MADE_BY}; or correct root in the data file."
            )
    recordings = read_recordings(folder)
    turns = _turns(folder, recordings)
    headers = read_headers(list(recordings.values()), resample=data.resample, root=data.root)
    table = pd.DataFrame(
        {
            "id": list(recordings),
            "wav_path": [str(path) for path in recordings.values()],
            "num_samples": [header.num_samples for header in headers],
        }
    )
    durations = read_keyed(folder / DURATIONS)
    table["recorded_s"] = [
        _duration(durations.get(name, ""), header.duration_s, name, folder / DURATIONS)
        for name, header in zip(recordings, headers, strict=True)
    ]
    return with_turns(table, [turns[name] for name in recordings], split, folder)


def _turns(folder: Path, recordings: Mapping[str, Path]) -> dict[str, list[Turn]]:
    speakers = read_keyed(folder / SPEAKERS)
    turns: dict[str, list[Turn]] = defaultdict(list)
    for segment in read_segments(folder, recordings):
        speaker = speakers.get(segment.name, "")
        if not speaker:
            raise UserError(
                f"Expected the speaker of every segment in {folder / SPEAKERS}. Found none of "
                f"{shortened(repr(segment.name), 80)}. {_MADE_BY}."
            )
        turns[segment.recording].append(Turn(speaker, segment.start_s, segment.end_s))
    return turns


def _duration(text: str, duration_s: float, name: str, file: Path) -> float:
    try:
        listed_s = float(text)
    except ValueError:
        listed_s = math.nan
    if not abs(listed_s - duration_s) <= _LARGEST_DIFFERENCE_S:
        raise UserError(
            f"Expected the length of {shortened(repr(name), 80)} in {file}, {duration_s:.2f} s by its audio. Found "
            f"{shortened(repr(text), 40)}. {_MADE_BY}."
        )
    # Frames past the end of the audio have no features.
    return listed_s if listed_s <= duration_s + _ROUNDING_S else duration_s
