"""A third party's compressor: drops transformer layers, and trains the others to make up for them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import Adam

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, read_headers, read_waveform
from bench.audio.sources import source_paths
from bench.contracts import AudioSource, Compressor, Context, Settings
from bench.errors import UserError
from bench.files.atomic import replacing
from bench.stopping import is_stop_requested, stop_if_requested
from bench.store.claims import claim_folder
from bench.upstream import UpstreamModel, weights_hash


class HalvingConfig(Settings):
    """Settings of the method."""

    keep_every: int = Field(default=2, ge=1)
    """Keep the last of this many transformer layers."""
    updates: int = Field(ge=0)
    """Optimiser updates in which the model learns the teacher's last hidden state."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of Adam, the same in all updates."""
    crop_duration_s: float = Field(default=2.0, gt=0)
    """Speech heard in one update."""
    checkpoint_updates: int = Field(default=50, ge=1)
    """Updates between two checkpoints: what an interruption loses at most."""


class Halving(Compressor):
    """Drops layers, and trains what is left."""

    name = "halving"
    summary = "keeps every other transformer layer, and trains it on the teacher's last hidden state"
    config_type = HalvingConfig
    presets: ClassVar[Mapping[str, Settings]] = {
        "paper": HalvingConfig(updates=10_000),
        "mini": HalvingConfig(updates=200),
        "smoke": HalvingConfig(updates=10),
    }

    config: HalvingConfig

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse to leave no layer, and audio that nothing can be learnt from."""
        if self.config.keep_every > teacher.num_layers:
            raise UserError(f"keep_every is {self.config.keep_every}, but the teacher has {teacher.num_layers} layers.")
        _training_files(audio, teacher)

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Drop the layers and train, or go on with it."""
        files = _training_files(audio, teacher)
        claim_folder(workdir, self._work(teacher, files, context))
        frozen = copy.deepcopy(teacher).to(context.device)
        student = _keep_layers(frozen, self.config.keep_every).to(context.device)
        optimizer = Adam(student.parameters(), lr=self.config.learning_rate)
        checkpoint = Checkpoint(workdir / "checkpoint.pt", student, optimizer)
        for update in range(checkpoint.restore(), self.config.updates):
            waveforms = self._crop(files, np.random.default_rng((context.seed, update))).to(context.device)
            with torch.no_grad():
                target = frozen(waveforms)[0][-1]
            optimizer.zero_grad()
            mse_loss(student(waveforms)[0][-1], target).backward()
            optimizer.step()
            is_due = (update + 1) % self.config.checkpoint_updates == 0 or update + 1 == self.config.updates
            if is_due or is_stop_requested():
                checkpoint.save(update + 1)
            stop_if_requested()
        return {self.name: student}

    def _work(self, teacher: UpstreamModel, files: Sequence[AudioFile], context: Context) -> dict[str, Any]:
        """Say all that the result depends on."""
        return {
            "configuration": self.config.model_dump(mode="json"),
            "seed": context.seed,
            "teacher": weights_hash(teacher),
            "audio": [str(file.path) for file in files],
        }

    def _crop(self, files: Sequence[AudioFile], generator: np.random.Generator) -> Tensor:
        """Read a random stretch of a random file, (1, samples)."""
        file = files[int(generator.integers(len(files)))]
        num_samples = min(round(self.config.crop_duration_s * SAMPLE_RATE_HZ), file.num_samples)
        start = int(generator.integers(file.num_samples - num_samples + 1))
        return torch.from_numpy(read_waveform(file, start=start, num_samples=num_samples))[None]


class Checkpoint:
    """Where a training stands, in one file that is whole or absent."""

    def __init__(self, path: Path, student: UpstreamModel, optimizer: Adam) -> None:
        self.path = path
        self.student = student
        self.optimizer = optimizer

    def save(self, num_updates: int) -> None:
        """Keep everything that the further updates depend on."""
        state = {"student": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}
        with replacing(self.path) as temporary:
            torch.save({"num_updates": num_updates, **state}, temporary)

    def restore(self) -> int:
        """Load what is there, and return how many updates that is."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["num_updates"])


def _training_files(audio: AudioSource, teacher: UpstreamModel) -> list[AudioFile]:
    """Find the files of one frame or more."""
    files = read_headers(source_paths(audio), resample=audio.resample)
    usable = [file for file in files if file.num_samples >= teacher.config.window]
    if not usable:
        raise UserError(f"All {len(files)} audio files are shorter than one frame, {teacher.config.window} samples.")
    return usable


def _keep_layers(teacher: UpstreamModel, keep_every: int) -> UpstreamModel:
    """Copy the model with some of its layers alone."""
    kept = range(keep_every - 1, teacher.num_layers, keep_every)
    layers = tuple(teacher.config.layers[index] for index in kept)
    student = UpstreamModel(teacher.config.model_copy(update={"layers": layers}))
    for module, child in student.named_children():
        if module != "layers":
            child.load_state_dict(getattr(teacher, module).state_dict())
    for position, index in enumerate(kept):
        student.layers[position].load_state_dict(teacher.layers[index].state_dict())
    return student.eval()
