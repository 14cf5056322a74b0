"""low-rank: linear layers become products of two smaller ones, by singular value decomposition, and the model recovers.

Source: Wang et al., SVD-LLM (arXiv 2403.07378), for whitened inputs; the recovery is the second stage of DPHuBERT
(arXiv 2305.17651).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from bench.contracts import AudioSource, Context
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.reduction import factorised
from bench.workers.ranks import first_goes_first
from compressors.low_rank.config import MINI, PAPER, SMOKE, LowRankConfig
from compressors.low_rank.factors import Factors, all_factors, second_moments
from compressors.low_rank.ranks import Ranks, ranks_by_energy, ranks_within_budget, require_reachable_rank
from compressors.objectives.distillation import Distillation
from compressors.objectives.distilled_layers import require_layers
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.objectives.layer_clusters import with_clustered_layers
from compressors.objectives.state_predictors import projections_between
from compressors.size.budget import budget_for, timings
from compressors.size.linears import LinearGroup, linears_of
from compressors.students.copies import trainable_copy
from compressors.training.crops import CropBatches, Waveforms
from compressors.training.kept_tensors import Snapshots, kept_tensors
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.seeds import derived_seed

if TYPE_CHECKING:
    from compressors.training.loop import Training

logger = logging.getLogger(__name__)

MOMENTS, FACTORS = "moments.safetensors", "factors"
"""Names in the work folder while layers are decomposed."""


class LowRank(TrainingCompressor):
    """The compressor ``low-rank``."""

    name: ClassVar[str] = "low-rank"
    summary: ClassVar[str] = "low-rank linear layers by SVD, with whitened inputs and recovery (arXiv 2403.07378)"
    config_type: ClassVar[type[LowRankConfig]] = LowRankConfig
    makes_reduced_linears: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, LowRankConfig]] = {"paper": PAPER, "mini": MINI, "smoke": SMOKE}

    config: LowRankConfig

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work.

        Raises:
            UserError: the teacher is not a speech model, its layers cannot reach the budget, or the audio is unusable.
        """
        require_trainable(teacher, self.config, context)
        require_layers(self.config, teacher.num_layers)
        if self.config.energy is None:
            linears, budget = linears_of(teacher.config, self.config.linears), budget_for(self.config, teacher.config)
            require_reachable_rank(teacher.config, linears, budget, self.config)
        require_audio(audio, self.config, teacher)

    def train(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Decompose and recover, or do the rest of it; see `TrainingCompressor`."""
        inputs = timings(self.config, teacher.config) if self.config.energy is None else {}
        training = prepared_training(self.name, self.config, teacher, audio, workdir, context, **inputs)
        frozen = FrozenTeacher(teacher, context.device)
        student = factorised(trainable_copy(teacher, self.config.dropout), self._kept_factors(frozen, training))
        logger.info("%d of %d linear layers are low-rank", *_num_reduced(student.config, self.config.linears))
        if self.config.recovery is not None:
            config = with_clustered_layers(self.config, teacher, training)
            projections = projections_between(student, teacher, config)
            distillation = Distillation(student, frozen, projections, config)
            training.run("recovery", self.config.recovery, distillation)
            training.keep(distillation)
        return {self.name: student.eval()}

    def _kept_factors(self, frozen: FrozenTeacher, training: Training) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the factors. The first decomposition is stored."""
        with first_goes_first():
            kept = kept_tensors(
                training.workdir / "factors.safetensors", lambda: self._truncated_factors(frozen.model, training)
            )
        (training.workdir / MOMENTS).unlink(missing_ok=True)
        shutil.rmtree(training.workdir / FACTORS, ignore_errors=True)
        linears = [key.removesuffix(".down") for key in kept if key.endswith(".down")]
        return {linear: (kept[f"{linear}.down"], kept[f"{linear}.up"]) for linear in linears}

    def _truncated_factors(self, teacher: UpstreamModel, training: Training) -> dict[str, Tensor]:
        factors = self._factors(teacher, training)
        spectra = {linear: each.singular_values for linear, each in factors.items()}
        truncated = {
            linear: factors[linear].truncated(rank) for linear, rank in self._ranks(spectra, teacher.config).items()
        }
        return {
            f"{linear}.{part}": tensor
            for linear, both in truncated.items()
            for part, tensor in zip(("down", "up"), both, strict=True)
        }

    def _factors(self, teacher: UpstreamModel, training: Training) -> dict[str, Factors]:
        linears = linears_of(teacher.config, self.config.linears)
        moments: dict[str, Tensor] = {}
        if self.config.whiten:
            crops = CropBatches(training.files, self.config, derived_seed(training.context.seed, "whitening"))
            batches = Waveforms(crops, self.config.whiten_batches)
            moments = second_moments(teacher, linears, batches, Snapshots(training.workdir / MOMENTS))
        return all_factors(teacher, linears, moments, training.workdir / FACTORS)

    def _ranks(self, spectra: Mapping[str, Tensor], shape: UpstreamConfig) -> Ranks:
        if self.config.energy is not None:
            return ranks_by_energy(spectra, shape, self.config.energy)
        return ranks_within_budget(spectra, shape, budget_for(self.config, shape))


def _num_reduced(shape: UpstreamConfig, groups: tuple[LinearGroup, ...]) -> tuple[int, int]:
    return len(shape.reduced_linears), len(linears_of(shape, groups))
