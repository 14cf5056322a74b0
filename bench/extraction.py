"""Hidden states of audio files, written to one NumPy file."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bench.audio.files import AudioFile, read_headers, read_waveform
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
    stems = Counter(path.stem for path in paths)
    doubled = sorted(stem for stem, count in stems.items() if count > 1)
    if doubled:
        raise UserError(f"Two audio files are called {doubled[0]}; the arrays are named by stems. Rename one.")
    files = read_headers(paths, resample=resample)
    upstream = load_upstream(reference)
    upstream.to(device)
    target = out if out.suffix == ".npz" else out.with_name(out.name + ".npz")
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file, samples in _read_ahead(files):
            with naming_recording(file.path, file.duration_s), torch.inference_mode():
                waveform = torch.from_numpy(samples)[None].to(device)
                try:
                    states, _ = upstream(waveform, torch.tensor([waveform.shape[1]], device=device))
                except ValueError as error:
                    raise UserError(f"{file.path}: {error}. Leave it out.") from error
                for index, state in enumerate(states):
                    # At once, so that memory does not grow with the number of files.
                    with archive.open(f"{file.path.stem}/{index}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, state[0].float().cpu().numpy(), allow_pickle=False)
    return target


def _read_ahead(files: Sequence[AudioFile]) -> Iterator[tuple[AudioFile, NDArray[np.float32]]]:
    """Read each file while the one before is computed."""
    with ThreadPoolExecutor(1) as reader:
        reading = [reader.submit(read_waveform, file) for file in files[:1]]
        for file, following in zip(files, [*files[1:], None], strict=True):
            samples = reading.pop().result()
            if following is not None:
                reading.append(reader.submit(read_waveform, following))
            yield file, samples
