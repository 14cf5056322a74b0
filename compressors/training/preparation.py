"""Checks and set-up of every method that trains."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.audio.files import AudioFile
from bench.contracts import AudioSource, Compressor, Context, TrainingWork
from bench.errors import UserError
from bench.store.claims import claim_folder
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.workers.ranks import current_rank, from_first
from compressors.settings import TrainingConfig
from compressors.training.files import audio_identity, training_files
from compressors.training.precision import numerics, precision_on
from compressors.training.several_devices import require_devices, train_together

if TYPE_CHECKING:
    from compressors.training.loop import Training
    from compressors.training.staged_training import StagedTraining


def require_trainable(teacher: object, config: StagedTraining, context: Context) -> None:
    """Refuse a teacher or device that no method can train with. `require_audio` checks the audio.

    Raises:
        UserError: the teacher is not a speech model or has reduced linear layers, the device lacks the precision, or
            several devices cannot share the batches of an update.
    """
    # This import finds installations that cannot train, before any long work.
    import compressors.training.loop  # noqa: F401

    reduced = require_speech_model(teacher).config.reduced_linears
    if reduced:
        raise UserError(
            f"Expected a teacher with dense float32 linear layers. Found {len(reduced)} low-rank or int8 layers, the "
            f"first {reduced[0][0]}. Use low-rank and int8 last, or choose another --teacher."
        )
    precision_on(config, context)
    if config.num_updates():
        require_devices(config, context)


class TrainingCompressor(Compressor):
    """Base of compressors that train. They define `train` in place of `compress`."""

    config: StagedTraining

    def uses_devices(self) -> bool:
        """Whether there is something to train; see `bench.contracts.Compressor`."""
        return self.config.num_updates() > 0

    def training_work(self, teacher: UpstreamConfig) -> TrainingWork:
        """Estimate the work of all stages; see `bench.contracts.Compressor`."""
        config = self.config
        return TrainingWork(config.num_updates(), config.training_macs(teacher), config.training_audio_s())

    def compress(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Train on one device or several; see `bench.contracts.Compressor`."""
        if context.devices > 1 and self.uses_devices():
            train_together(self, teacher, audio, workdir, context)
        # After training in several processes, this reads the last checkpoints.
        return self.train(teacher, audio, workdir, context)

    @abstractmethod
    def train(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Do the work of `compress`, as the only process or as one of `bench.workers.ranks`.

        Several processes call it with the same arguments. Only the first one may write, and steps that are done once
        need `first_goes_first`.
        """

    def check_ahead(self, first_teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work for a teacher of any size.

        Raises:
            UserError: the device lacks the precision, or the audio is unusable.
        """
        precision_on(self.config, context)
        if self.uses_devices():
            require_devices(self.config, context)
        require_audio(audio, self.config, first_teacher)

    def numerics(self, context: Context) -> dict[str, Any]:
        """Return device and precision; see `bench.contracts.Compressor`."""
        return numerics(self.config, context)


def require_speech_model(teacher: object) -> UpstreamModel:
    """Return the teacher if it is a model with layers.

    Raises:
        UserError: it is not.
    """
    if not isinstance(teacher, UpstreamModel):
        raise UserError(
            f"Expected a HuBERT, wav2vec 2.0 or WavLM teacher. Found {type(teacher).__name__}, which has nothing to "
            "compress. Choose another --teacher."
        )
    return teacher


def require_audio(audio: AudioSource, config: TrainingConfig, teacher: UpstreamModel) -> list[AudioFile]:
    """Return the usable audio files. Call it as the last check: it logs how much audio there is.

    Raises:
        UserError: there are none.
    """
    return training_files(audio, config, teacher.config.window)


def prepared_training(
    name: str,
    config: TrainingConfig,
    teacher: UpstreamModel,
    audio: AudioSource,
    workdir: Path,
    context: Context,
    **inputs: object,
) -> Training:
    """Set up a compression in ``workdir``, or resume it, and seed torch's generator.

    Args:
        name: name of the compressor and of its model. For several models see `compressors.size.several_sizes`.
        config: all settings of the compressor.
        teacher: the model to compress.
        audio: the training audio.
        workdir: created if missing. From now on it belongs to this compression.
        context: seed, device and warm start.
        inputs: what else the result depends on, as plain values by name.

    Returns:
        The training, which runs stages. Its history is in the folder of files that go with the model.

    Raises:
        UserError: ``workdir`` holds other work, or the audio is unusable.
    """
    from compressors.training.loop import Training  # Imported here: lightning takes seconds to import.

    files = from_first(partial(training_files, audio, config, teacher.config.window))
    if current_rank().is_first:
        start = {"start": weights_hash(context.start.model)} if context.start else {}
        claim_folder(
            workdir,
            {
                "compressor": name,
                "configuration": config.model_dump(mode="json"),
                "seed": context.seed,
                "teacher": weights_hash(teacher),
                **audio_identity(files, audio),
                **start,
                **inputs,
            },
        )
    torch.manual_seed(context.seed)
    return Training(config, files, workdir, workdir / "beside" / name / "training.csv", context)
