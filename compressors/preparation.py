"""What every method does before it trains: refusing what cannot work, and setting up its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.store.claims import claim_folder
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from compressors.audio import audio_hash, training_files
from compressors.precision import precision_on
from compressors.stages import TrainingConfig

if TYPE_CHECKING:
    from compressors.training import Training


def require_trainable(teacher: object, config: TrainingConfig, context: Context) -> None:
    """Refuse what no method can train with, before any long work; the audio is looked at by `require_audio`.

    Raises:
        UserError: the teacher is no speech model, or the device lacks the precision.
    """
    if not isinstance(teacher, UpstreamModel):
        raise UserError(
            f"Expected a HuBERT, wav2vec 2.0 or WavLM teacher. Found {type(teacher).__name__}, which has nothing to "
            "compress. Choose another --teacher."
        )
    precision_on(config, context)


def require_audio(audio: AudioSource, config: TrainingConfig, teacher: UpstreamModel) -> None:
    """Refuse unusable audio, as the last check, for it tells how much there is.

    Raises:
        UserError: it is.
    """
    training_files(audio, config, teacher.config.window)


def prepared_training(
    name: str, config: TrainingConfig, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
) -> Training:
    """Set up a compression in ``workdir``, or what is left of it, and seed torch's generator.

    Args:
        name: of the compressor, and of the one model that it makes.
        config: all of its settings.
        teacher: what is compressed.
        audio: what the model hears.
        workdir: made if missing; it belongs to this very compression from now on.
        context: seed and device.

    Returns:
        What runs the stages. Its history lies in the folder of what is kept beside the model.

    Raises:
        UserError: ``workdir`` holds other work, or the audio is unusable.
    """
    from compressors.training import Training  # Here, for lightning takes seconds to import.

    files = training_files(audio, config, teacher.config.window)
    claim_folder(
        workdir,
        {
            "compressor": name,
            "configuration": config.model_dump(mode="json"),
            "seed": context.seed,
            "teacher": weights_hash(teacher),
            "audio": audio_hash(files),
        },
    )
    torch.manual_seed(context.seed)
    return Training(config, files, workdir, workdir / "beside" / name / "training.csv", context)
