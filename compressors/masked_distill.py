"""masked-distill: a small student learns to predict its teacher's units at masked frames.

Source: Chi et al., DiceHuBERT: Distilling HuBERT with a Self-Supervised Learning Objective (arXiv 2507.02911), and its
recipe in ESPnet: HuBERT's second iteration (arXiv 2106.07447 section IV-B) with a smaller model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from bench.contracts import AudioSource, Context
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import DropoutRates
from compressors.objectives.frame_prediction import FramePrediction
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.presets import HUBERT_TRAINING, MINI_MASKED_PREDICTION, MINI_TRAINING
from compressors.settings import StageConfig, TeacherUnitsConfig, ThinStudentConfig
from compressors.students.shapes import thin_student, thin_student_shape
from compressors.training.preparation import TrainingCompressor, prepared_training, require_audio, require_trainable
from compressors.training.staged_training import StagedTraining
from compressors.units.teacher_units import require_units, unit_batches

MASK_FIELDS = ("mask_span_frames", "mask_start_probability", "unmasked_loss_weight")


class MaskedDistillConfig(StagedTraining, TeacherUnitsConfig, ThinStudentConfig):
    """Settings of the student, of the units, and of the one stage."""

    extractor_weights: Literal["teacher", "random"] = "teacher"
    """Initial weights of the convolutions if they have the teacher's shape. All other weights start at random."""
    dropout: DropoutRates = DropoutRates()
    """The student's dropout rates in training."""
    masked: bool = True
    """True: the student predicts the units of frames that it does not see, as in HuBERT. False: it sees everything and
    predicts the units of every frame."""
    unit_layers: tuple[int, ...] | None = Field(default=None, min_length=1)
    """The teacher's hidden states whose units are predicted, each from the student's state of the same layer. null: the
    units of ``cluster_layer``, predicted from the student's last state."""
    prediction: StageConfig
    """The student learns to predict units."""

    @model_validator(mode="after")
    def _names_a_layer_once(self) -> Self:
        if self.unit_layers is not None and len(set(self.unit_layers)) < len(self.unit_layers):
            raise ValueError(f"unit_layers {[*self.unit_layers]} names a layer twice; name each once")
        return self

    def fields_without_effect(self) -> Collection[str]:
        """Name the settings of masks if there are none, and ``cluster_layer`` if ``unit_layers`` replaces it."""
        masks = () if self.masked else MASK_FIELDS
        layer = ("cluster_layer",) if self.unit_layers else ()
        return {*super().fields_without_effect(), *masks, *layer}

    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all training, as if units were made for every batch."""
        student = self.macs_a_second(thin_student_shape(teacher, self))
        return self.stage_macs(self.prediction, len(self.unit_layers or (0,)) * self.macs_a_second(teacher), student)


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
        require_units(teacher, require_audio(audio, self.config, teacher), self.config, self.config.unit_layers)

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
        layers = self.config.unit_layers
        targets = [Target(layer, self.config.num_clusters) for layer in layers or (student.num_layers,)]
        kind = MaskedPrediction if self.config.masked else FramePrediction
        prediction = kind(student, targets, self.config)
        batches = unit_batches(training, teacher, self.config, layers)
        training.run("prediction", self.config.prediction, prediction, batches)
        training.keep(prediction)
        return {self.name: student.eval()}
