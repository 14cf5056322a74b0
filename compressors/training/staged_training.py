"""How much a method trains, and recipes scaled so that a sweep gives all methods the same training."""

from __future__ import annotations

from abc import abstractmethod

from typing_extensions import Self

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError
from bench.upstream import UpstreamConfig
from bench.upstream.cost import count_macs
from compressors.settings import StageConfig, TrainingConfig

BACKWARD = 2
"""MACs of a backward pass over those of a forward pass: one product for the inputs, one for the weights."""


class StagedTraining(TrainingConfig):
    """Base of configurations with stages; see `bench.contracts.ComparableTraining`."""

    def stages(self) -> dict[str, StageConfig]:
        """Return the stages by setting name, in the order of the fields."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, StageConfig)}

    def num_updates(self) -> int:
        """Count the optimiser updates of all stages."""
        return sum(stage.updates for stage in self.stages().values())

    def with_num_updates(self, num_updates: int) -> Self:
        """Return the same recipe with ``num_updates`` updates in all. Stages and warm-ups scale in proportion.

        Raises:
            UserError: fewer updates than stages.
        """
        stages = self.stages()
        if num_updates < len(stages):
            raise UserError(
                f"Expected at least one update per stage ({', '.join(stages)}). Found {num_updates} in all."
            )
        factor = num_updates / self.num_updates()
        lengths = {name: max(1, round(stage.updates * factor)) for name, stage in stages.items()}
        # The longest stage absorbs the rounding, as it matters least there.
        longest = max(lengths, key=lambda name: lengths[name])
        lengths[longest] += num_updates - sum(lengths.values())
        return self.model_copy(update={name: stage.in_updates(lengths[name]) for name, stage in stages.items()})

    @abstractmethod
    def training_macs(self, teacher: UpstreamConfig) -> int:
        """Estimate the MACs of all stages; see `bench.contracts.ComparableTraining`."""

    def training_audio_s(self) -> float:
        """Return the most seconds of speech in the batches of all stages."""
        return self.num_updates() * self.accumulate_batches * self.seconds_per_batch

    def stage_macs(self, stage: StageConfig, forward: float, trained: float) -> int:
        """Estimate the MACs of a stage.

        Args:
            stage: the stage.
            forward: MACs per second of speech of the models that only run forward, such as the teacher.
            trained: MACs per second of speech of a forward pass of the models that are trained.
        """
        audio_s = stage.updates * self.accumulate_batches * self.seconds_per_batch
        return round(audio_s * (forward + (1 + BACKWARD) * trained))

    def macs_a_second(self, shape: UpstreamConfig) -> float:
        """Count the MACs per second of speech of a forward pass over the longest crop."""
        return count_macs(shape, int(self.max_duration_s * SAMPLE_RATE_HZ)) / self.max_duration_s
