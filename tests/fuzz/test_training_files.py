"""Damaged working files of trainings and heads: noticed by name and made again, so that the result is the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.audio.files import find_audio, read_headers
from bench.contracts import Context
from bench.files.sealed import DAMAGED, read_sealed, write_sealed
from bench.runs.time_spent import noting_time, time_spent
from bench.upstream.config import uniform_config
from compressors.settings import StageConfig, TrainingConfig
from compressors.training.kept_tensors import kept_tensors
from compressors.training.loop import Training
from compressors.training.objective import Objective
from compressors.units.clusters import cluster_units
from compressors.units.frame_features import MfccFeatures
from tasks.bridge.head_checkpoints import HeadCheckpoints
from tests.fuzz.harness import PROFILES

SHAPE = uniform_config("hubert", 16, 2, 2, 16, conv_channels=8, positional_kernel=8)
STAGE = StageConfig(updates=4, warmup_updates=1, learning_rate=0.01)

Damage = Callable[[bytes], bytes]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Flip bits, overwrite, cut or lengthen, anywhere."""
    place = draw(st.floats(0, 1, exclude_max=True))
    kind = draw(st.sampled_from(["flip", "overwrite", "cut", "lengthen"]))
    bit, content = draw(st.integers(0, 7)), draw(st.binary(min_size=1, max_size=64))

    def damage(whole: bytes) -> bytes:
        at = min(int(place * len(whole)), len(whole) - 1)
        if kind == "flip":
            return whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        if kind == "overwrite":
            return whole[:at] + content + whole[at + len(content) :]
        return whole[:at] if kind == "cut" else whole + content

    return damage


def fuzz(
    folder: Path, tmp_path: Path, again: Callable[[Path], Any], expected: Any, profile: str, max_examples: int
) -> None:
    """Damage one file of a folder at a time; ``again`` must set it aside, or be right without it."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    @settings(
        database=None,
        deadline=None,
        derandomize=profile == "fixed",
        max_examples=max_examples if profile == "fixed" else 20 * max_examples,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(names), damages())
    def run(name: Path, damage: Damage) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        whole = (copy / name).read_bytes()
        damaged = damage(whole)
        # Zeros over zeros are no damage.
        assume(damaged != whole)
        (copy / name).write_bytes(damaged)
        assert again(copy) == expected
        assert is_set_aside(copy, name), f"{name} went unnoticed"

    run()


def is_set_aside(folder: Path, name: Path) -> bool:
    return any(path.name.endswith(DAMAGED) for path in folder.rglob(f"*{DAMAGED}")) or not (folder / name).exists()


class Small(Objective):
    """Trains in no time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 1)

    def forward(self, waveforms: Tensor, update: int) -> dict[str, Tensor | float]:
        return {"loss": self.layer(waveforms[:, :16] * 10).square().mean()}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": self.parameters(), "lr": learning_rate}]


@pytest.mark.parametrize("profile", PROFILES)
def test_training_checkpoints(speech_folder: Path, tmp_path: Path, profile: str) -> None:
    config = TrainingConfig(seconds_per_batch=3, checkpoint_updates=2, log_updates=1)
    files = read_headers(find_audio(speech_folder))

    def trained(folder: Path) -> list[float]:
        objective = Small()
        training = Training(config, files, folder, tmp_path / "training.csv", Context())
        training.run("stage", STAGE, objective)
        text = (tmp_path / "training.csv").read_text()
        return [*objective.layer.weight.flatten().tolist(), text]  # type: ignore[list-item]

    expected = trained(tmp_path / "work")
    fuzz_last = partial(fuzz, tmp_path=tmp_path, again=trained, expected=expected, profile=profile)
    # The one before is read only where the last one is damaged.
    (tmp_path / "work" / "stage.previous.ckpt").unlink()
    fuzz_last(tmp_path / "work", max_examples=15)


@pytest.mark.parametrize("profile", PROFILES)
def test_units(speech_folder: Path, tmp_path: Path, profile: str) -> None:
    files = read_headers(find_audio(speech_folder))

    def labels(folder: Path) -> list[list[int]]:
        units = cluster_units(MfccFeatures(SHAPE), 5, files, config=SHAPE, share=0.5, seed=0, folder=folder)
        return [units.labels[file.path].tolist() for file in files]

    expected = labels(tmp_path / "units")
    fuzz(tmp_path / "units", tmp_path, labels, expected, profile, max_examples=15)


@pytest.mark.parametrize("profile", PROFILES)
def test_kept_tensors(tmp_path: Path, profile: str) -> None:
    values = np.random.default_rng(0).standard_normal(300)

    def read(folder: Path) -> list[float]:
        kept: list[float] = kept_tensors(folder / "kept.safetensors", lambda: {"a": torch.from_numpy(values)})[
            "a"
        ].tolist()
        return kept

    fuzz(_made(tmp_path / "work", read), tmp_path, read, values.tolist(), profile, max_examples=100)


@pytest.mark.parametrize("profile", PROFILES)
def test_notes_of_time(tmp_path: Path, profile: str) -> None:
    def processes(folder: Path) -> int:
        folder.mkdir(exist_ok=True)
        with noting_time(folder):
            pass
        return time_spent(folder)["processes"]

    fuzz(_made(tmp_path / "work", processes), tmp_path, processes, 1, profile, max_examples=100)


@pytest.mark.parametrize("profile", PROFILES)
def test_sealed_files(tmp_path: Path, profile: str) -> None:
    write_sealed(tmp_path / "work" / "file", b"content" * 20)
    fuzz(tmp_path / "work", tmp_path, lambda folder: read_sealed(folder / "file"), None, profile, max_examples=300)


@pytest.mark.parametrize("profile", PROFILES)
def test_head_checkpoints(tmp_path: Path, profile: str) -> None:
    train_dir, checkpoint_dir = tmp_path / "train", tmp_path / "work" / "checkpoints"
    draft = train_dir / "step_4"
    (draft / "model").mkdir(parents=True)
    (draft / "model" / "state_dict.pt").write_bytes(bytes(range(256)))
    (draft / "training_stats.yaml").write_text("global_step: 4\n")
    HeadCheckpoints(train_dir, checkpoint_dir).commit(draft)

    def restored(folder: Path) -> Path | None:
        return HeadCheckpoints(train_dir, folder / "checkpoints").restore()

    assert restored(tmp_path / "work") == checkpoint_dir / "step_4"
    fuzz(tmp_path / "work", tmp_path, restored, None, profile, max_examples=300)


def _made(folder: Path, make: Callable[[Path], object]) -> Path:
    make(folder)
    return folder
