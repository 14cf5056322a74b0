"""What every method does before it trains: refusing what cannot work, and setting up its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.audio.files import AudioFile
from bench.contracts import AudioSource, Compressor, Context
from bench.errors import UserError
from bench.store.claims import claim_folder
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from compressors.settings import TrainingConfig
from compressors.training.files import audio_hash, training_files
from compressors.training.precision import precision_on

if TYPE_CHECKING:
    from compressors.training.loop import Training


def require_trainable(teacher: object, config: TrainingConfig, context: Context) -> None:
    """Refuse what no method can train with, before any long work; the audio is looked at by `require_audio`.

    Raises:
        UserError: the teacher is no speech model, or one of reduced linear layers, or the device lacks the precision.
    """
    # An installation on which nothing can be trained is found here, before any long work.
    import compressors.training.loop  # noqa: F401

    reduced = require_speech_model(teacher).config.reduced_linears
    if reduced:
        raise UserError(
            f"Expected a teacher of dense float32 linear layers. Found {len(reduced)} that are low-rank or int8, the "
            f"first {reduced[0][0]}. Reduce a model last, or choose another --teacher."
        )
    precision_on(config, context)


class TrainingCompressor(Compressor):
    """Base of compressors that train."""

    config: TrainingConfig

    def check_ahead(self, first_teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work whatever the size of the teacher.

        Raises:
            UserError: the device lacks the precision, or the audio is unusable.
        """
        precision_on(self.config, context)
        require_audio(audio, self.config, first_teacher)


def require_speech_model(teacher: object) -> UpstreamModel:
    """Narrow a teacher to a model that has layers.

    Raises:
        UserError: it has none.
    """
    if not isinstance(teacher, UpstreamModel):
        raise UserError(
            f"Expected a HuBERT, wav2vec 2.0 or WavLM teacher. Found {type(teacher).__name__}, which has nothing to "
            "compress. Choose another --teacher."
        )
    return teacher


def require_audio(audio: AudioSource, config: TrainingConfig, teacher: UpstreamModel) -> list[AudioFile]:
    """Refuse unusable audio, as the last check, for it tells how much there is.

    Returns:
        The usable files.

    Raises:
        UserError: there are none.
    """
    return training_files(audio, config, teacher.config.window)


def prepared_training(
    name: str, config: TrainingConfig, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
) -> Training:
    """Set up a compression in ``workdir``, or what is left of it, and seed torch's generator.

    Args:
        name: of the compressor, and of the one model that it makes; of several see `compressors.size.several_sizes`.
        config: all of its settings.
        teacher: what is compressed.
        audio: what the model hears.
        workdir: made if missing; it belongs to this very compression from now on.
        context: seed, device, and what the model starts from.

    Returns:
        What runs the stages. Its history lies in the folder of what is kept beside the model.

    Raises:
        UserError: ``workdir`` holds other work, or the audio is unusable.
    """
    from compressors.training.loop import Training  # Here, for lightning takes seconds to import.

    files = training_files(audio, config, teacher.config.window)
    start = {"start": weights_hash(context.start.model)} if context.start else {}
    claim_folder(
        workdir,
        {
            "compressor": name,
            "configuration": config.model_dump(mode="json"),
            "seed": context.seed,
            "teacher": weights_hash(teacher),
            "audio": audio_hash(files),
            **start,
        },
    )
    torch.manual_seed(context.seed)
    return Training(config, files, workdir, workdir / "beside" / name / "training.csv", context)
