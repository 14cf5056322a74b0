"""masked-distill: a small student learns to predict its teacher's units at masked frames.

Source: Chi et al., DiceHuBERT: Distilling HuBERT with a Self-Supervised Learning Objective (arXiv 2507.02911), and its
recipe in ESPnet: HuBERT's second iteration (arXiv 2106.07447 section IV-B) with a smaller model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from bench.contracts import AudioSource, Context
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import DropoutRates
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.presets import HUBERT_TRAINING, MINI_MASKED_PREDICTION, MINI_TRAINING
from compressors.settings import StageConfig, TeacherUnitsConfig, ThinStudentConfig
from compressors.students.shapes import thin_student, thin_student_shape
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.staged_training import StagedTraining
from compressors.units.teacher_units import require_units, unit_batches


class MaskedDistillConfig(StagedTraining, TeacherUnitsConfig, ThinStudentConfig):
    """Settings of the student, of the units, and of the one stage."""

    extractor_weights: Literal["teacher", "random"] = "teacher"
    """Initial weights of the convolutions if they have the teacher's shape. All other weights start at random."""
    dropout: DropoutRates = DropoutRates()
    """The student's dropout rates in training."""
    prediction: StageConfig
    """The student learns masked prediction."""

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all training, as if units were made for every batch."""
        student = self.macs_a_second(thin_student_shape(teacher, self))
        return self.stage_macs(self.prediction, self.macs_a_second(teacher), student)


PAPER = MaskedDistillConfig(
    # HuBERT's second iteration.
    prediction=StageConfig(updates=400_000, warmup_updates=32_000, learning_rate=5e-4),
    extractor_weights="random",
    dropout=DropoutRates(layer=0.05),
    **HUBERT_TRAINING,
)

MINI = MaskedDistillConfig(
    prediction=StageConfig(updates=450, warmup_updates=45, learning_rate=1e-3),
    num_clusters=100,
    **MINI_MASKED_PREDICTION,
    **MINI_TRAINING,
)

SMOKE = MINI.model_copy(
    update={
        "prediction": StageConfig(updates=12, warmup_updates=2, learning_rate=1e-3),
        "num_clusters": 16,
        "log_updates": 2,
    }
)


class MaskedDistill(TrainingCompressor):
    """The compressor ``masked-distill``."""

    name: ClassVar[str] = "masked-distill"
    summary: ClassVar[str] = "a small student learns its teacher's units by masked prediction (arXiv 2507.02911)"
    config_type: ClassVar[type[MaskedDistillConfig]] = MaskedDistillConfig
    presets: ClassVar[Mapping[str, MaskedDistillConfig]] = {"paper": PAPER, "mini": MINI, "smoke": SMOKE}

    config: MaskedDistillConfig

    def check(self, teacher: UpstreamModel, audio: AudioSource, context: Context) -> None:
        """Refuse what cannot work, before any long work.

        Raises:
            UserError: the teacher is not a speech model, a layer, the budget or the number of clusters is out of reach,
                or the audio is unusable.
        """
        require_trainable(teacher, self.config, context)
        thin_student_shape(teacher.config, self.config)
        require_units(teacher, require_audio(audio, self.config, teacher), self.config)

    def train(
        self, teacher: UpstreamModel, audio: AudioSource, workdir: Path, context: Context
    ) -> dict[str, UpstreamModel]:
        """Run the stage, or the rest of it; see `TrainingCompressor`."""
        training = prepared_training(self.name, self.config, teacher, audio, workdir, context)
        student = thin_student(
            teacher,
            thin_student_shape(teacher.config, self.config),
            self.config.dropout,
            context.seed,
            extractor_weights=self.config.extractor_weights,
        )
        target = Target(student.num_layers, self.config.num_clusters)
        prediction = MaskedPrediction(student, [target], self.config)
        training.run("prediction", self.config.prediction, prediction, unit_batches(training, teacher, self.config))
        training.keep(prediction)
        return {self.name: student.eval()}
