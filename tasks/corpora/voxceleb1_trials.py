"""VoxCeleb1's layout for speaker verification, with the trials of ``veri_test.txt``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from bench.audio.files import read_headers
from bench.audio.manifest import read_manifest
from bench.audio.search import files_below, is_audio
from bench.contracts import Settings
from bench.errors import UserError
from bench.text import shortened
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.corpora.text_files import read_text
from tasks.corpora.trials import Trial, drawn_recordings, drawn_trials, with_trials

TRIAL_FILE = "veri_test.txt"
DEV_RECORDINGS = 1_000
DEV_TRIALS_PER_RECORDING = 8
_LINE = re.compile(r"(?P<same>[01])\s+(?P<first>\S+)\s+(?P<second>\S+)")
_PAGE = "robots.ox.ac.uk/~vgg/data/voxceleb"
_SAME = {"1": True, "0": False}


class VoxCeleb1TrialsData(Settings):
    """VoxCeleb1, or your own speakers in its layout."""

    layout: Literal["voxceleb1"] = "voxceleb1"
    """``dev/wav`` to train on and ``test/wav`` to test on, with ``id<number>/<video>/<n>.wav``."""
    root: Path
    """Folder with ``dev``, ``test`` and the trials ``veri_test.txt``: lines ``<1|0> <file> <file>``, 1 if one speaker
    made both."""
    num_dev_speakers: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Hold out this many speakers of ``dev/wav`` for the dev trials, which select the checkpoint and the learning rate.
    0 trains on all of them, as SUPERB does: the dev trials are then of training recordings, and their error rate says
    nothing about new speakers."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


class ManifestTrialsData(ManifestData):
    """Your own recordings and trials."""

    trials: Path
    """CSV (``.csv``, ``.tsv``) or JSON lines (``.jsonl``) with the columns ``same`` (1 for one speaker, 0 for two),
    ``first`` and ``second``: ids of two recordings of dev, or two of test."""


def read_voxceleb1_trials(data: VoxCeleb1TrialsData) -> dict[str, pd.DataFrame]:
    """Read the corpus into ``train``, ``dev`` and ``test``.

    Returns:
        Tables with the columns id (``<speaker>-<video>-<n>``), wav_path, num_samples, speaker and, in dev and test,
        trials (see `tasks.corpora.trials`), sorted by id.

    Raises:
        UserError: the trials or audio are missing, malformed or unreadable, or audio is not 16 kHz.
    """
    trials = _read_trial_file(data.root / TRIAL_FILE)
    spoken = {part: _recordings(data, part) for part in ("dev", "test")}
    known = set(spoken["test"]["id"])
    if missing := [name for trial in trials for name in (trial.first, trial.second) if name not in known]:
        raise UserError(
            f"Expected the audio of every trial of {TRIAL_FILE} below test/wav of {data.root}. Found none for "
            f"{shortened(missing[0], 60)} ({len(set(missing))} recordings missing). "
            f"Get vox1_test_wav.zip from {_PAGE}, or remove the lines."
        )
    train, dev = _held_out(spoken["dev"], data)
    dev = drawn_recordings(dev, DEV_RECORDINGS)
    return {
        "train": train,
        "dev": with_trials(dev, drawn_trials(dev, DEV_TRIALS_PER_RECORDING)),
        "test": with_trials(spoken["test"], trials),
    }


def read_own_trials(data: ManifestTrialsData) -> dict[str, pd.DataFrame]:
    """Read a user's own recordings and trials, like `read_voxceleb1_trials`."""
    splits = read_own_data(data, ("speaker",))
    split_of = {name: split for split in ("train", "dev", "test") for name in splits[split]["id"]}
    table = read_manifest(data.trials, ("same", "first", "second"))
    found: dict[str, list[Trial]] = {"dev": [], "test": []}
    for number, (same, *names) in enumerate(zip(table["same"], table["first"], table["second"], strict=True), start=1):
        found[_trial_split(same, names, split_of, f"row {number} of {data.trials}")].append(Trial(_SAME[same], *names))
    return {"train": splits["train"], **{split: with_trials(splits[split], found[split]) for split in found}}


def _trial_split(same: str, names: Sequence[str], split_of: Mapping[str, str], where: str) -> str:
    if same not in _SAME:
        raise UserError(
            f"Expected 1 (one speaker) or 0 (two) as same in {where}. Found {shortened(same, 40)!r}. Correct it."
        )
    splits = [split_of.get(name) for name in names]
    if None in splits:
        raise UserError(
            f"Expected ids of the manifest in {where}. Found {shortened(names[splits.index(None)])!r}, which it does "
            "not have. An id is the path without suffix, unless the manifest has a column id."
        )
    if splits[0] != splits[1] or splits[0] == "train" or names[0] == names[1]:
        raise UserError(
            f"Expected two recordings of dev, or two of test, in {where}. Found {shortened(names[0], 60)} of "
            f"{splits[0]} and {shortened(names[1], 60)} of {splits[1]}. Pair others."
        )
    return str(splits[0])


def _read_trial_file(file: Path) -> list[Trial]:
    if not file.is_file():
        raise UserError(
            f"Expected VoxCeleb1 with its trials in {file.parent}. Found no {file.name} there. "
            f"Get it from {_PAGE}/meta/{file.name}, or correct root in the data file."
        )
    trials = []
    for number, text in enumerate(read_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        match = _LINE.fullmatch(text.strip())
        if not match or match["first"] == match["second"]:
            raise UserError(
                f"Expected `<1|0> <speaker>/<video>/<n>.wav <speaker>/<video>/<n>.wav`, of two files, in line {number} "
                f"of {file}. Found {shortened(text.strip())!r}. Correct the line."
            )
        trials.append(Trial(_SAME[match["same"]], _id(Path(match["first"])), _id(Path(match["second"]))))
    return trials


def _recordings(data: VoxCeleb1TrialsData, part: str) -> pd.DataFrame:
    folder = data.root / part / "wav"
    paths = sorted(path for path in files_below(folder) if is_audio(path) and len(path.relative_to(folder).parts) == 3)
    if not paths:
        raise UserError(
            f"Expected recordings <speaker>/<video>/<n>.wav below {folder}. Found none. Get VoxCeleb1 from {_PAGE}, or "
            "correct root in the data file."
        )
    headers = read_headers(paths, resample=data.resample, root=data.root)
    table = pd.DataFrame(
        {
            "id": [_id(path) for path in paths],
            "wav_path": [str(path) for path in paths],
            "num_samples": [header.num_samples for header in headers],
            "speaker": [path.parts[-3] for path in paths],
        }
    )
    if table["id"].duplicated().any():
        name = table["id"][table["id"].duplicated()].iloc[0]
        raise UserError(f"Expected every recording once below {folder}. Found {shortened(name)} twice. Remove one.")
    return table.sort_values("id", ignore_index=True)


def _held_out(table: pd.DataFrame, data: VoxCeleb1TrialsData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training recordings and those of dev trials."""
    number = data.num_dev_speakers
    if not number:
        return table, table
    speakers = sorted(set(table["speaker"]))
    if not 2 <= number <= len(speakers) - 2:
        raise UserError(
            f"Expected num_dev_speakers of 0, or from 2 to {len(speakers) - 2}, for {data.root} with {len(speakers)} "
            f"speakers in dev/wav. Found {number}. Correct it in the data file."
        )
    is_dev = table["speaker"].isin(speakers[-number:])
    return table[~is_dev].reset_index(drop=True), table[is_dev].reset_index(drop=True)


def _id(path: Path) -> str:
    return "-".join([*path.parts[-3:-1], path.stem])
