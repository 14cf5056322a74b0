"""int8: linear layers with int8 weights and inputs rounded to integers, without training.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference
(arXiv 1712.05877); torch's dynamic quantisation of linear layers; `compressors.size.calibration` for fixed ranges.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from bench.contracts import AudioSource, Compressor, Context, Settings, TrainingWork
from bench.contracts.bounds import BatchS
from bench.errors import UserError
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.reduced_linears import require_int8_kernels
from bench.upstream.reduction import InputRanges, quantised, single_linears
from compressors.size.calibration import CALIBRATION_AUDIO, RangeEstimator, calibration_batches, input_ranges
from compressors.size.linears import LinearGroup, linears_of
from compressors.training.preparation import require_audio, require_speech_model
from compressors.training.seeds import derived_seed


class Int8Config(Settings):
    """Settings of the quantisation."""

    linears: tuple[LinearGroup, ...] = Field(default=("attention", "feed_forward", "projection"), min_length=1)
    """Linear layers that get int8 weights: ``attention``, ``feed_forward``, and the ``projection`` of the extractor's
    features. Convolutions and the small gate of WavLM's position bias stay in float32."""
    activations: Literal["dynamic", "static"] = "dynamic"
    """How inputs are rounded. ``dynamic``: to 7 bits of a range measured at every call. ``static``: to 8 bits of a
    fixed range per layer, found on calibration audio; weights then have 7 bits."""
    calibration_s: BatchS = 60.0
    """Seconds of training audio on which ``static`` ranges are found."""
    ranges: RangeEstimator = "mse"
    """``mse``: the range whose rounded and clipped inputs have the least squared error. ``minmax``: from the smallest
    to the largest input."""

    def fields_without_effect(self) -> Collection[str]:
        """Name the settings of the calibration without one."""
        own = () if self.activations == "static" else ("calibration_s", "ranges")
        return {*super().fields_without_effect(), *own}


class Int8(Compressor):
    """The compressor ``int8``."""

    name: ClassVar[str] = "int8"
    summary: ClassVar[str] = "int8 weights and inputs, without training (arXiv 1712.05877, 2504.14915)"
    config_type: ClassVar[type[Int8Config]] = Int8Config
    makes_reduced_linears: ClassVar[bool] = True
    takes_reduced_linears: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Int8Config]] = {preset: Int8Config() for preset in ("paper", "mini", "smoke")}

    config: Int8Config

    def check_ahead(
        self,
        first_teacher: UpstreamModel,
        audio: AudioSource,
        context: Context,  # noqa: ARG002 - quantises on the CPU
    ) -> None:
        """Refuse a build of torch without int8 kernels, and unusable audio; see `bench.contracts.Compressor`."""
        require_int8_kernels()
        if self.config.activations == "static":
            require_audio(audio, CALIBRATION_AUDIO, first_teacher)

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:  # noqa: ARG002 - quantises on the CPU
        """Refuse what cannot work.

        Raises:
            UserError: the teacher is not a speech model or has nothing to quantise, torch has no int8 kernels, or the
                calibration audio is unusable.
        """
        require_int8_kernels()
        if not self._modules(require_speech_model(teacher).config):
            raise UserError(
                f"Expected linear layers in float32 among {', '.join(self.config.linears)}. Found none in this "
                "teacher. Choose another --teacher, or other linears."
            )
        if self.config.activations == "static":
            require_audio(audio, CALIBRATION_AUDIO, teacher)

    def compress(
        self,
        teacher: UpstreamModel,
        audio: AudioSource,
        workdir: Path,  # noqa: ARG002 - takes seconds, so there is nothing to resume
        context: Context,
    ) -> dict[str, UpstreamModel]:
        """Quantise; see `bench.contracts.Compressor`."""
        modules = self._modules(teacher.config)
        ranges = self._ranges(teacher, modules, audio, context) if self.config.activations == "static" else None
        return {self.name: quantised(teacher, modules, ranges).eval()}

    def _ranges(
        self, teacher: UpstreamModel, modules: Collection[str], audio: AudioSource, context: Context
    ) -> InputRanges:
        files = require_audio(audio, CALIBRATION_AUDIO, teacher)
        batches = calibration_batches(files, self.config.calibration_s, derived_seed(context.seed, "calibration"))
        linears = single_linears(teacher.config, modules)
        return input_ranges(teacher.eval(), linears, batches, self.config.ranges)

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
