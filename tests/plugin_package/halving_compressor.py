"""A third party's compressor: keeps every other transformer layer. One class, one entry point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.contracts import AudioSource, Context, Settings
from bench.errors import UserError
from bench.upstream import UpstreamModel


class HalvingConfig(Settings):
    """Settings of the method."""

    keep_every: int = 2
    """Keep the last of this many transformer layers."""


class Halving:
    """Drops transformer layers; no training."""

    name = "halving"
    summary = "keeps every other transformer layer"
    config_type = HalvingConfig
    presets: ClassVar[Mapping[str, Settings]] = {
        "paper": HalvingConfig(),
        "mini": HalvingConfig(),
        "smoke": HalvingConfig(),
    }

    def __init__(self, config: HalvingConfig) -> None:
        self.config = config

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse to leave nothing."""
        if self.config.keep_every > teacher.num_layers:
            raise UserError(f"keep_every is {self.config.keep_every}, but the teacher has {teacher.num_layers} layers.")

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Copy the layers kept."""
        kept = range(self.config.keep_every - 1, teacher.num_layers, self.config.keep_every)
        layers = tuple(teacher.config.layers[index] for index in kept)
        student = UpstreamModel(teacher.config.model_copy(update={"layers": layers}))
        for module, child in student.named_children():
            if module != "layers":
                child.load_state_dict(getattr(teacher, module).state_dict())
        for position, index in enumerate(kept):
            student.layers[position].load_state_dict(teacher.layers[index].state_dict())
        return {self.name: student.eval()}
