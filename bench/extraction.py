"""Hidden states of audio files, written to one NumPy file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bench.audio.files import read_headers, read_waveform
from bench.errors import UserError
from bench.files.atomic import replacing
from bench.out_of_memory import naming_recording
from bench.upstream import load_upstream


def extract(
    reference: str, paths: Sequence[Path], out: Path, *, resample: bool, device: Literal["cpu", "cuda"]
) -> Path:
    """Compute SUPERB's hidden states of each file, one at a time, so that padding cannot affect them.

    Args:
        reference: model reference.
        paths: audio files. Their stems name the arrays.
        out: the ``.npz`` to write: arrays ``<stem>/<k>`` of shape (frames, dim), float32.
        resample: accept other rates than 16 kHz.
        device: device for models that do not run only on the CPU.

    Raises:
        UserError: unusable audio, or two files with the same stem.
    """
    stems = [path.stem for path in paths]
    doubled = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubled:
        raise UserError(f"Two audio files are called {doubled[0]}; the arrays are named by stems. Rename one.")
    files = read_headers(paths, resample=resample)
    upstream = load_upstream(reference)
    upstream.to(device)
    arrays: dict[str, NDArray[np.float32]] = {}
    for file in files:
        with naming_recording(file.path, file.duration_s), torch.inference_mode():
            waveform = torch.from_numpy(read_waveform(file))[None].to(device)
            try:
                states, _ = upstream(waveform, torch.tensor([waveform.shape[1]]))
            except ValueError as error:
                raise UserError(f"{file.path}: {error}. Leave it out.") from error
            for index, state in enumerate(states):
                arrays[f"{file.path.stem}/{index}"] = state[0].float().cpu().numpy()
    target = out if out.suffix == ".npz" else out.with_name(out.name + ".npz")
    with replacing(target) as temporary, temporary.open("wb") as file_object:
        np.savez(file_object, allow_pickle=False, **arrays)
    return target
