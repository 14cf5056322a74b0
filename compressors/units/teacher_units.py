"""Units of a teacher: k-means clusters of one of its hidden states, computed once and cached.

Source: HuBERT (arXiv 2106.07447) section IV-B; a smaller student that learns them: DiceHuBERT (arXiv 2507.02911).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from bench.audio.files import AudioFile
from bench.cache_folder import units_root
from bench.contracts import Context
from bench.errors import UserError
from bench.store.claims import CACHE_REMEDY, claim_folder, claimed, require_locks
from bench.upstream import UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.workers.ranks import first_goes_first
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.settings import TeacherUnitsConfig
from compressors.units.batches import UnitBatches
from compressors.units.frame_features import HiddenFeatures
from compressors.units.labels import FrameUnits, drawn_files, require_frames

if TYPE_CHECKING:
    from compressors.training.loop import Training

DEPTH_OF_UNITS = 0.75
"""Default depth of the clustered state. HuBERT section IV-B clusters layer 9 of 12 of its second Base model."""

UNITS_VERSION = 2
"""Version of the computation. Raise it to ignore cached units."""


def cluster_layer(config: TeacherUnitsConfig, num_layers: int) -> int:
    """Return the hidden state to cluster of a teacher of ``num_layers``.

    Raises:
        UserError: the configuration names one that the teacher does not have.
    """
    if config.cluster_layer is None:
        return max(round(num_layers * DEPTH_OF_UNITS), 1)
    if config.cluster_layer > num_layers:
        raise UserError(
            f"Expected a layer from 1 to {num_layers}, the teacher's last, to cluster. Found cluster_layer="
            f"{config.cluster_layer}. Choose another, or leave the option out."
        )
    return config.cluster_layer


def require_units(
    teacher: UpstreamModel,
    files: Sequence[AudioFile],
    config: TeacherUnitsConfig,
    layers: Sequence[int] | None = None,
) -> None:
    """Refuse units that cannot be computed, before any long work.

    Args:
        teacher: the teacher.
        files: the training audio.
        config: names the units.
        layers: hidden states to cluster instead of ``cluster_layer``.

    Raises:
        UserError: the teacher does not have the layer, or the audio has fewer frames than clusters.
    """
    for layer in layers or ():
        if not 1 <= layer <= teacher.num_layers:
            raise UserError(
                f"Expected layers from 1 to {teacher.num_layers}, the teacher's last, to cluster. Found "
                f"unit_layers={list(layers or ())}. Choose others, or leave the option out."
            )
    cluster_layer(config, teacher.num_layers)
    sample = drawn_files(files, config.kmeans_share, config.kmeans_seed)
    require_frames(sample, config.num_clusters, teacher.config)


def unit_batches(
    training: Training, teacher: UpstreamModel, config: TeacherUnitsConfig, layers: Sequence[int] | None = None
) -> Callable[[int], UnitBatches]:
    """Return a function from a stage's seed to its batches. Units are computed, or read, when a stage needs them.

    Args:
        training: names the audio.
        teacher: the teacher.
        config: names the units.
        layers: hidden states to cluster, one target each, instead of ``cluster_layer``.
    """

    @cache
    def units() -> list[FrameUnits]:
        named = [config.model_copy(update={"cluster_layer": layer}) for layer in layers] if layers else [config]
        return [
            teacher_units(teacher, training.files, each, training.config.num_workers, training.context)
            for each in named
        ]

    return lambda seed: UnitBatches(training.files, units(), teacher.config, training.config, seed)


def teacher_units(
    teacher: UpstreamModel, files: Sequence[AudioFile], config: TeacherUnitsConfig, num_workers: int, context: Context
) -> FrameUnits:
    """Compute the units of all files, or read cached ones of the same teacher, audio and clusters.

    Processes that need the same units wait for the first one. If it is killed, the next resumes its work.

    Args:
        teacher: the teacher, which is not changed.
        files: files to label.
        config: names the units.
        num_workers: extra processes that read audio.
        context: names the device.

    Raises:
        UserError: as in `require_units`.
    """
    from compressors.units.clusters import cluster_units  # Imported here: scikit-learn takes seconds to import.

    layer = cluster_layer(config, teacher.num_layers)
    identity = {
        "version": UNITS_VERSION,
        "teacher": weights_hash(teacher),
        "audio": _audio_identity(files),
        "layer": layer,
        "num_clusters": config.num_clusters,
        "kmeans_share": config.kmeans_share,
        "kmeans_seed": config.kmeans_seed,
    }
    folder = units_root() / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:40]
    require_locks(folder.parent, CACHE_REMEDY)
    with first_goes_first(), claimed(folder.with_suffix(".lock"), wait=True):
        claim_folder(folder, identity)
        return cluster_units(
            HiddenFeatures(FrozenTeacher(teacher, context.device).model, layer, context, num_workers),
            config.num_clusters,
            files,
            config=teacher.config,
            share=config.kmeans_share,
            seed=config.kmeans_seed,
            folder=folder,
        )


def _audio_identity(files: Sequence[AudioFile]) -> str:
    """Hash the audio files. Size and modification time reveal a changed file."""
    digest = hashlib.sha256()
    for file in files:
        status = file.path.stat()
        digest.update(f"{file.path} {file.num_samples} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
