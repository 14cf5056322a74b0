"""int8: linear layers with int8 weights and dynamically quantised inputs, without training.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference
(arXiv 1712.05877); torch's dynamic quantisation of linear layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bench.contracts import AudioSource, Compressor, Context, Settings, TrainingWork
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.reduced_linears import require_int8_kernels
from bench.upstream.reduction import quantised
from compressors.size.linears import LinearGroup, linears_of
from compressors.training.preparation import require_speech_model


class Int8Config(Settings):
    """Settings of the quantisation."""

    linears: tuple[LinearGroup, ...] = Field(default=("attention", "feed_forward", "projection"), min_length=1)
    """Linear layers that get int8 weights: ``attention``, ``feed_forward``, and the ``projection`` of the extractor's
    features. Convolutions and the small gate of WavLM's position bias stay in float32."""


class Int8(Compressor):
    """The compressor ``int8``."""

    name: ClassVar[str] = "int8"
    summary: ClassVar[str] = "int8 weights and dynamically quantised inputs, without training (arXiv 1712.05877)"
    config_type: ClassVar[type[Int8Config]] = Int8Config
    makes_reduced_linears: ClassVar[bool] = True
    takes_reduced_linears: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Int8Config]] = {preset: Int8Config() for preset in ("paper", "mini", "smoke")}

    config: Int8Config

    def check_ahead(
        self,
        first_teacher: UpstreamModel,  # noqa: ARG002 - the layers to quantise are not known yet
        audio: AudioSource,  # noqa: ARG002 - uses no audio
        context: Context,  # noqa: ARG002 - quantises on the CPU
    ) -> None:
        """Refuse a build of torch without int8 kernels; see `bench.contracts.Compressor`."""
        require_int8_kernels()

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:  # noqa: ARG002 - no audio, no device
        """Refuse what cannot work.

        Raises:
            UserError: the teacher is not a speech model or has nothing to quantise, or torch has no int8 kernels.
        """
        require_int8_kernels()
        if not self._modules(require_speech_model(teacher).config):
            raise UserError(
                f"Expected linear layers in float32 among {', '.join(self.config.linears)}. Found none in this "
                "teacher. Choose another --teacher, or other linears."
            )

    def compress(
        self,
        teacher: UpstreamModel,
        audio: AudioSource,  # noqa: ARG002 - uses no audio
        workdir: Path,  # noqa: ARG002 - takes a second at most
        context: Context,  # noqa: ARG002 - nothing is random
    ) -> dict[str, UpstreamModel]:
        """Quantise; see `bench.contracts.Compressor`."""
        return {self.name: quantised(teacher, self._modules(teacher.config)).eval()}

    def training_work(self, teacher: UpstreamConfig) -> TrainingWork:  # noqa: ARG002 - nothing is trained
        """Return none: nothing is trained."""
        return TrainingWork(updates=0, macs=0, audio_s=0.0)

    def target_sparsities(self) -> Mapping[str, float]:
        """Return 0: all parameters stay."""
        return {self.name: 0.0}

    def _modules(self, shape: UpstreamConfig) -> list[str]:
        reduced = dict(shape.reduced_linears)
        chosen = linears_of(shape, self.config.linears)
        return [path for path in chosen if path not in reduced or reduced[path].dtype == "float32"]
