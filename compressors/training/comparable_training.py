"""How much a method trains, and the same recipe stretched or shortened, so that a sweep can train all methods alike."""

from __future__ import annotations

from typing_extensions import Self

from bench.audio.files import SAMPLE_RATE_HZ
from bench.errors import UserError
from bench.upstream import UpstreamConfig
from bench.upstream.cost import count_macs
from compressors.settings import StageConfig, TrainingConfig

BACKWARD = 2
"""MACs of a backward pass over those of the forward pass: one product for the inputs, one for the weights."""


class StagedTraining(TrainingConfig):
    """Settings of which some are stages; see `bench.contracts.ComparableTraining`, of which a method adds the rest."""

    def stages(self) -> dict[str, StageConfig]:
        """Return the stages by the name of their setting, in the order of the fields."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, StageConfig)}

    def num_updates(self) -> int:
        """Count the optimiser updates of all stages."""
        return sum(stage.updates for stage in self.stages().values())

    def with_num_updates(self, num_updates: int) -> Self:
        """Return the same recipe in so many updates, every stage and its warm-up in proportion.

        Raises:
            UserError: fewer updates than stages.
        """
        stages = self.stages()
        if num_updates < len(stages):
            raise UserError(f"Expected an update a stage ({', '.join(stages)}) at least. Found {num_updates} in all.")
        factor = num_updates / self.num_updates()
        lengths = {name: max(1, round(stage.updates * factor)) for name, stage in stages.items()}
        # Rounding goes to the longest stage, which feels it least.
        longest = max(lengths, key=lambda name: lengths[name])
        lengths[longest] += num_updates - sum(lengths.values())
        return self.model_copy(update={name: stage.in_updates(lengths[name]) for name, stage in stages.items()})

    def stage_macs(self, stage: StageConfig, forward: float, trained: float) -> int:
        """Estimate the MACs of a stage.

        Args:
            stage: which.
            forward: MACs a second of speech of what is heard and not trained, the teacher.
            trained: the same of what is trained.
        """
        heard_s = stage.updates * self.accumulate_batches * self.seconds_per_batch
        return round(heard_s * (forward + (1 + BACKWARD) * trained))

    def macs_a_second(self, shape: UpstreamConfig) -> float:
        """Count the MACs of a forward pass of a model over the longest crop, a second of it."""
        return count_macs(shape, int(self.max_duration_s * SAMPLE_RATE_HZ)) / self.max_duration_s
