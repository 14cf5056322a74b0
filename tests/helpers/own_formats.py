"""The rows of a manifest, written in the other formats that the suite reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

Rows = Sequence[dict[str, str]]
Writer = Callable[[Path, Rows], Path]


def id_of(row: dict[str, str]) -> str:
    return row["path"].removesuffix(".wav")


def labels_of(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in ("path", "split")}


def by_split(rows: Rows) -> dict[str, list[dict[str, str]]]:
    return {split: [row for row in rows if row["split"] == split] for split in dict.fromkeys(r["split"] for r in rows)}


def write_lines(file: Path, lines: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def write_kaldi_labels(folder: Path, rows: Rows) -> None:
    files = {"text": "text", "speaker": "utt2spk"}
    for column in labels_of(rows[0]):
        write_lines(folder / files.get(column, f"utt2{column}"), [f"{id_of(row)} {row[column]}" for row in rows])


def kaldi(root: Path, rows: Rows) -> Path:
    """One folder per split."""
    for split, part in by_split(rows).items():
        write_lines(root / "kaldi" / split / "wav.scp", [f"{id_of(row)} {root / row['path']}" for row in part])
        write_kaldi_labels(root / "kaldi" / split, part)
    return root / "kaldi"


def kaldi_in_one_folder(root: Path, rows: Rows) -> Path:
    """With ``utt2split``, and paths relative to a folder above."""
    folder = root / "all"
    write_lines(folder / "wav.scp", [f"{id_of(row)} {row['path']}" for row in rows])
    write_lines(folder / "utt2split", [f"{id_of(row)} {row['split']}" for row in rows])
    write_kaldi_labels(folder, rows)
    return root / "all"


def one_recording(root: Path, rows: Rows, split: str) -> tuple[Path, list[tuple[float, float]]]:
    """Join the audio of a split with noise between it, and return where each part is, in seconds."""
    noise = np.random.default_rng(0).integers(-900, 900, 1_601).astype(np.int16)
    pieces, spans, position = [noise], [], len(noise)
    for row in rows:
        samples, _ = soundfile.read(root / row["path"], dtype="int16")
        spans.append((position / 16_000, (position + len(samples)) / 16_000))
        pieces += [samples, noise]
        position += len(samples) + len(noise)
    file = root / f"{split}-recording.flac"
    soundfile.write(file, np.concatenate(pieces), 16_000)
    return file, spans


def kaldi_segments(root: Path, rows: Rows) -> Path:
    for split, part in by_split(rows).items():
        recording, spans = one_recording(root, part, split)
        folder = root / "kaldi" / split
        write_lines(folder / "wav.scp", [f"rec {recording}"])
        lines = [f"{id_of(row)} rec {start:.7f} {end:.7f}" for row, (start, end) in zip(part, spans, strict=True)]
        write_lines(folder / "segments", lines)
        write_kaldi_labels(folder, part)
    return root / "kaldi"


def audiofolder(root: Path, rows: Rows) -> Path:
    lines = [
        json.dumps({"file_name": row["path"].removeprefix("audio/"), "split": row["split"], **labels_of(row)})
        for row in rows
    ]
    write_lines(root / "audio" / "metadata.jsonl", lines)
    return root / "audio"


def audiofolder_by_folder(root: Path, rows: Rows) -> Path:
    """CSV, and the splits are the first folders of the paths."""
    columns = list(labels_of(rows[0]))
    lines = [",".join([row["path"].removeprefix("audio/"), *(row[name] for name in columns)]) for row in rows]
    write_lines(root / "audio" / "metadata.csv", [",".join(["file_name", *columns]), *lines])
    return root / "audio"


def data_set(root: Path, rows: Rows) -> Any:
    import datasets

    columns: dict[str, list[str]] = {name: [row[name] for row in rows] for name in labels_of(rows[0])}
    audio = [str(root / row["path"]) for row in rows]
    made = datasets.Dataset.from_dict({"sound": audio, "id": [id_of(row) for row in rows], **columns})
    return made.cast_column("sound", datasets.Audio())


def saved_datasets(root: Path, rows: Rows) -> Path:
    import datasets

    names = {"train": "train", "dev": "validation", "test": "test"}
    made = datasets.DatasetDict({names[split]: data_set(root, part) for split, part in by_split(rows).items()})
    made.save_to_disk(root / "saved")
    return root / "saved"


def cut(recording: Path, row: dict[str, str], start_s: float = 0, end_s: float | None = None) -> Any:
    import lhotse

    of = lhotse.Recording.from_file(recording)
    duration_s = (of.duration if end_s is None else end_s) - start_s
    own = {name: value for name, value in labels_of(row).items() if name not in ("text", "speaker")}
    said = lhotse.SupervisionSegment(
        id=f"said-{id_of(row)}",
        recording_id=of.id,
        start=0,
        duration=duration_s,
        text=row.get("text"),
        speaker=row.get("speaker"),
        custom=own,
    )
    return lhotse.MonoCut(
        id=id_of(row), start=start_s, duration=duration_s, channel=0, supervisions=[said], recording=of
    )


def save_cuts(file: Path, cuts: Sequence[Any]) -> None:
    import lhotse

    file.parent.mkdir(exist_ok=True)
    lhotse.CutSet.from_cuts(cuts).to_file(file)


def lhotse_cuts(root: Path, rows: Rows) -> Path:
    for split, part in by_split(rows).items():
        save_cuts(root / "cuts" / f"cuts_{split}.jsonl.gz", [cut(root / row["path"], row) for row in part])
    return root / "cuts"


def lhotse_segments(root: Path, rows: Rows) -> Path:
    for split, part in by_split(rows).items():
        recording, spans = one_recording(root, part, split)
        cuts = [cut(recording, row, *span) for row, span in zip(part, spans, strict=True)]
        save_cuts(root / "cuts" / f"{split}.jsonl", cuts)
    return root / "cuts"


IN_PLACE: dict[str, Writer] = {
    "kaldi": kaldi,
    "kaldi_in_one_folder": kaldi_in_one_folder,
    "audiofolder": audiofolder,
    "audiofolder_by_folder": audiofolder_by_folder,
    "lhotse": lhotse_cuts,
}
"""Formats that name the files of the manifest."""
WRITTEN: dict[str, Writer] = {
    "kaldi_segments": kaldi_segments,
    "saved_datasets": saved_datasets,
    "lhotse_segments": lhotse_segments,
}
"""Formats whose audio is written to the cache."""
