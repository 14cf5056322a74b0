"""``bench features``: the hidden states of every file, alone, in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench.errors import UserError
from bench.extraction import extract
from bench.upstream import load_upstream


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    noise = np.random.default_rng(0)
    made = [tmp_path / f"{name}.wav" for name in ("b", "a", "c")]
    for path, num_samples in zip(made, (4_000, 8_000, 1_600), strict=True):
        soundfile.write(path, 0.1 * noise.standard_normal(num_samples), 16_000)
    return made


def test_every_file_has_the_states_of_the_model(paths: list[Path], tmp_path: Path) -> None:
    out = extract("mini-hubert", paths, tmp_path / "states", resample=False, device="cpu")
    assert out == tmp_path / "states.npz"
    model = load_upstream("mini-hubert")
    with np.load(out) as arrays, torch.inference_mode():
        names = list(arrays)
        for path in paths:
            waveform = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
            states, _ = model(waveform, torch.tensor([waveform.shape[1]]))
            for index, state in enumerate(states):
                assert names.pop(0) == f"{path.stem}/{index}"
                assert arrays[f"{path.stem}/{index}"].dtype == np.float32
                assert np.array_equal(arrays[f"{path.stem}/{index}"], state[0].numpy())
        assert not names


def test_a_file_that_cannot_be_read_leaves_nothing(paths: list[Path], tmp_path: Path) -> None:
    soundfile.write(paths[2], np.full(1_600, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"c\.wav"):
        extract("fbank", paths, tmp_path / "states", resample=False, device="cpu")
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_equal_stems_are_refused(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="called a"):
        extract("fbank", [*paths, tmp_path / "other" / "a.wav"], tmp_path / "states", resample=False, device="cpu")
