"""IEMOCAP's layout: acted dialogs in five sessions. Each session is the test set of one fold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from pydantic import BaseModel, ValidationError

from bench.audio.files import read_headers
from bench.audio.search import audio_below
from bench.contracts import Settings
from bench.errors import UserError
from bench.files.json import read_json
from bench.text import shortened
from tasks.corpora.left_out import warn_of_audio_left_out
from tasks.corpora.text_files import read_text

SESSIONS = (1, 2, 3, 4, 5)
LABELS = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
"""Maps the emotions that SUPERB keeps to their classes. Other utterances are left out."""
DEV_SHARE = 0.2
"""Share of the four training sessions that becomes dev.

Source: ``valid_ratio`` of s3prl's `iemocap_for_superb`.
"""
SPLIT_METADATA = "meta_data"
_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(?P<name>\S+)\t(?P<emotion>\S+)\t.*")
_RESTORE = "Get the corpus from sail.usc.edu/iemocap, or correct root in the data file."


class IEMOCAPData(Settings):
    """IEMOCAP, or your own dialogs in its layout."""

    layout: Literal["iemocap"] = "iemocap"
    """``Session<n>/sentences/wav/<dialog>/<utterance>.wav``, evaluated in ``Session<n>/dialog/EmoEvaluation/<dialog>.txt``."""  # noqa: E501
    root: Path
    """Folder with ``Session1`` to ``Session5``. If it holds s3prl's ``meta_data``, the splits come from there."""
    resample: bool = False
    """Resample files with another rate to 16 kHz instead of refusing them."""


def read_iemocap(data: IEMOCAPData) -> pd.DataFrame:
    """Read every utterance whose emotion SUPERB keeps, improvised and scripted.

    Returns:
        A table with the columns id, wav_path, num_samples, label (excited counts as happy), emotion (as annotated),
        speaker (such as ``Ses01F``), session (1 to 5), act (``improvised`` or ``scripted``) and dialog, in the order of
        sessions, dialogs and their evaluation files.

    Raises:
        UserError: a session, an evaluation or audio is missing, an utterance occurs twice, a session lacks an
            emotion, or audio is unreadable or not 16 kHz.
    """
    rows = [row for session in SESSIONS for row in _read_session(data.root, session)]
    names = Counter(row["id"] for row in rows)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise UserError(f"Expected every utterance once in {data.root}. Found {repeated[0]} twice. Remove one.")
    headers = read_headers([Path(str(row["wav_path"])) for row in rows], resample=data.resample, root=data.root)
    table = pd.DataFrame(rows)
    table.insert(2, "num_samples", [header.num_samples for header in headers])
    return table


def split_for_session(data: IEMOCAPData, table: pd.DataFrame, test_session: int) -> dict[str, pd.DataFrame]:
    """Split the table of `read_iemocap` for the fold that tests on one session.

    A fifth of the other sessions is ``dev``, drawn with s3prl's generator and seed. s3prl draws from the order of its
    metadata files (``meta_data/Session<n>/{train,test}_meta_data.json``, huggingface.co/datasets/s3prl/iemocap_split),
    which follows the folders of the machine that wrote them. With these files below ``root`` the split equals s3prl's;
    without them it is drawn from the table's order.

    Returns:
        Tables ``train``, ``dev`` and ``test`` with the same columns, sorted by id.

    Raises:
        UserError: s3prl's metadata is unreadable or incomplete, or names utterances that are not in the table.

    Source: `iemocap_for_superb` of s3prl/problem/common/superb_er.py.
    """
    if test_session not in SESSIONS:
        raise ValueError(f"session {test_session} of {SESSIONS}")
    folder = data.root / SPLIT_METADATA / f"Session{test_session}"
    if folder.is_dir():
        trained, tested = (
            _listed(folder / f"{part}_meta_data.json", table["id"].tolist()) for part in ("train", "test")
        )
    else:
        is_tested = table["session"] == test_session
        trained, tested = table["id"][~is_tested].tolist(), table["id"][is_tested].tolist()
    order = torch.randperm(len(trained), generator=torch.Generator().manual_seed(0)).tolist()
    num_train = int((1 - DEV_SHARE) * len(trained))
    drawn = {
        "train": [trained[index] for index in order[:num_train]],
        "dev": [trained[index] for index in order[num_train:]],
        "test": tested,
    }
    by_id = table.set_index("id", drop=False)
    return {split: by_id.loc[sorted(names)].reset_index(drop=True) for split, names in drawn.items()}


def _listed(file: Path, known: Sequence[str]) -> list[str]:
    """Return the utterances in s3prl's metadata, in its order."""
    try:
        names = [Path(item.path).stem for item in _SplitMetadata.model_validate(read_json(file)).meta_data]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(
            f"Expected s3prl's split in {file}: {{'meta_data': [{{'path': ...}}, ...]}}. Found something else "
            f"({shortened(place, 40)}: {first['msg']}). Restore it, or remove {file.parent.parent.name}."
        ) from error
    if unknown := sorted(set(names) - set(known)):
        raise UserError(
            f"Expected the utterances that {file} lists. Found no {shortened(unknown[0])} with a kept emotion "
            f"({len(unknown)} missing). Restore them, or remove {file.parent.parent}."
        )
    return names


class _Utterance(BaseModel):
    path: str


class _SplitMetadata(BaseModel):
    """What is needed of s3prl's metadata; further keys are ignored."""

    meta_data: list[_Utterance]


def _read_session(root: Path, session: int) -> list[dict[str, object]]:
    folder = root / f"Session{session}"
    audio_root, evaluation_root = folder / "sentences" / "wav", folder / "dialog" / "EmoEvaluation"
    for part in (audio_root, evaluation_root):
        if not part.is_dir():
            raise UserError(f"Expected IEMOCAP with five sessions in {root}. Found no {part}. {_RESTORE}")
    dialogs = sorted(path for path in audio_root.iterdir() if path.is_dir() and not path.name.startswith("."))
    rows: list[dict[str, object]] = []
    read: list[Path] = []
    for dialog in dialogs:
        audio = _audio_of(dialog)
        read += audio.values()
        rows += _read_dialog(dialog, audio, evaluation_root / f"{dialog.name}.txt", session)
    warn_of_audio_left_out(audio_root, read)
    evaluated = {path.stem for path in evaluation_root.glob("*.txt") if not path.name.startswith(".")}
    if missing := sorted(evaluated - {dialog.name for dialog in dialogs}):
        raise UserError(
            f"Expected audio of every dialog that {evaluation_root} evaluates. Found no "
            f"{audio_root / missing[0]} ({len(missing)} missing). {_RESTORE}"
        )
    found = {row["label"] for row in rows}
    if lacking := [label for label in dict.fromkeys(LABELS.values()) if label not in found]:
        raise UserError(
            f"Expected utterances of {', '.join(dict.fromkeys(LABELS.values()))} in {folder}. Found none of "
            f"{lacking[0]}. {_RESTORE}"
        )
    return rows


def _audio_of(dialog: Path) -> dict[str, Path]:
    """Map the ids of a dialog's utterances to their files."""
    audio: dict[str, Path] = {}
    for path in audio_below(dialog):
        if path.parent != dialog:
            continue
        if path.stem in audio:
            raise UserError(
                f"Expected every utterance once in {dialog}. Found {audio[path.stem].name} and {path.name}. Remove one."
            )
        audio[path.stem] = path
    return audio


def _read_dialog(dialog: Path, audio: Mapping[str, Path], evaluation: Path, session: int) -> list[dict[str, object]]:
    if not evaluation.is_file():
        raise UserError(f"Expected the evaluation of {dialog} in {evaluation}. Found no such file. {_RESTORE}")
    rows: list[dict[str, object]] = []
    evaluated = set()
    for name, emotion in _evaluations(evaluation):
        evaluated.add(name)
        if emotion not in LABELS:
            continue
        if name not in audio:
            raise UserError(
                f"Expected audio of every line of {evaluation}. Found no {shortened(name)}.wav in "
                f"{dialog.name}. {_RESTORE}"
            )
        rows.append(
            {
                "id": name,
                "wav_path": str(audio[name]),
                "label": LABELS[emotion],
                "emotion": emotion,
                "speaker": f"{dialog.name[:5]}{name.rpartition('_')[2][:1]}",
                "session": session,
                "act": "improvised" if "impro" in dialog.name else "scripted",
                "dialog": dialog.name,
            }
        )
    if unevaluated := sorted(set(audio) - evaluated):
        raise UserError(
            f"Expected a line `[start - end]<tab>{unevaluated[0]}<tab>emotion<tab>[V, A, D]` in {evaluation}. "
            "Found none. Restore the file, or remove the audio."
        )
    return rows


def _evaluations(file: Path) -> Iterator[tuple[str, str]]:
    """Read utterances and their agreed emotion, without the lines of single raters."""
    for line in read_text(file).splitlines():
        match = _LINE.fullmatch(line)
        if match:
            yield match["name"], match["emotion"]
