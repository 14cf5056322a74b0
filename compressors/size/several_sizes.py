"""One call, several sizes: a model at each sparsity, every later one from the one before.

All sizes share the updates of one recipe: each has an equal part of every stage. The last model has then seen as many
updates as one that is made alone, and a call costs no more for having several sizes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pydantic import model_validator
from typing_extensions import Self

from compressors.settings import PruningConfig, StageConfig
from compressors.training.comparable_training import StagedTraining

if TYPE_CHECKING:
    from compressors.training.loop import Training


class SizesConfig(StagedTraining, PruningConfig):
    """Settings of a method that makes several sizes in one call; a compressor's configuration inherits it."""

    takes_sizes: ClassVar[bool] = True

    def shared_stages(self) -> dict[str, StageConfig]:
        """Return the stages of which each size has an equal part: all, but for what a method does once."""
        return self.stages()

    @model_validator(mode="after")
    def _every_size_is_trained(self) -> Self:
        for name, stage in self.shared_stages().items():
            if stage.updates < len(self.sizes):
                raise ValueError(f"{name}.updates {stage.updates} must be at least {len(self.sizes)}, one a size")
        return self

    def each_size(self) -> list[Self]:
        """Return the recipe of each model, in the order they are made; this one where there is one."""
        number = len(self.sizes)
        return [self._at_size(part, number) for part in range(1, number + 1)] or [self]

    def _at_size(self, part: int, num_parts: int) -> Self:
        stages = {name: stage.part(part, num_parts) for name, stage in self.shared_stages().items()}
        return self.model_copy(update={"sparsity": self.sizes[part - 1], **stages})


Config = TypeVar("Config", bound=SizesConfig)


def models_to_make(compressor: str, config: Config) -> dict[str, Config]:
    """Return the recipe of each model, by its name and in the order they are made."""
    names = [*target_sparsities(compressor, config)] or [compressor]
    return dict(zip(names, config.each_size(), strict=True))


def target_sparsities(compressor: str, config: SizesConfig) -> dict[str, float]:
    """Return the target of each of several models, by its name; empty where there is one."""
    return {f"{compressor}-{size!r}": size for size in config.sizes}


def training_of(training: Training, model: str) -> Training:
    """Return the same training with the history of one of its models."""
    return replace(training, history=training.workdir / "beside" / model / "training.csv")


def numbered(stage: str, number: int) -> str:
    """Name a stage of the model that is made as number ``number``; of the first as if there were no other."""
    return stage if number == 1 else f"{stage}-{number}"
