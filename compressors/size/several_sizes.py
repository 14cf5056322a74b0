"""Several sizes in one call: a model at each sparsity, each one from the one before.

The sizes share the updates of one recipe: each has an equal part of every stage. So the last model has seen as many
updates as a model made alone, and several sizes cost no more than one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pydantic import model_validator
from typing_extensions import Self

from compressors.settings import PruningConfig, StageConfig
from compressors.training.staged_training import StagedTraining

if TYPE_CHECKING:
    from compressors.training.loop import Training


class SizesConfig(StagedTraining, PruningConfig):
    """Base of the configuration of methods that make several sizes in one call."""

    takes_sizes: ClassVar[bool] = True

    def shared_stages(self) -> dict[str, StageConfig]:
        """Return the stages that the sizes share. A method may leave out stages that it runs once."""
        return self.stages()

    @model_validator(mode="after")
    def _every_size_is_trained(self) -> Self:
        for name, stage in self.shared_stages().items():
            if stage.updates < len(self.sizes):
                raise ValueError(f"{name}.updates {stage.updates} must be at least {len(self.sizes)}, one per size")
        return self

    def each_size(self) -> list[Self]:
        """Return the recipe of each size, in order. With one size it is this recipe."""
        number = len(self.sizes)
        return [self._at_size(part, number) for part in range(1, number + 1)] or [self]

    def _at_size(self, part: int, num_parts: int) -> Self:
        stages = {name: stage.part(part, num_parts) for name, stage in self.shared_stages().items()}
        return self.model_copy(update={"sparsity": self.sizes[part - 1], **stages})


Config = TypeVar("Config", bound=SizesConfig)


def models_to_make(compressor: str, config: Config) -> dict[str, Config]:
    """Return the recipe of each model by name, in the order of making them."""
    names = [*target_sparsities(compressor, config)] or [compressor]
    return dict(zip(names, config.each_size(), strict=True))


def target_sparsities(compressor: str, config: SizesConfig) -> dict[str, float | None]:
    """Return the target of each of several models by name; empty if there is only one model.

    None: it is no share of the parameters.
    """
    return {f"{compressor}-{size!r}": size if config.target == "params" else None for size in config.sizes}


def training_of(training: Training, model: str) -> Training:
    """Return the same training with the history of one model."""
    return replace(training, history=training.workdir / "beside" / model / "training.csv")


def numbered(stage: str, number: int) -> str:
    """Return the stage's name for the n-th size: joint, joint-2."""
    return stage if number == 1 else f"{stage}-{number}"
