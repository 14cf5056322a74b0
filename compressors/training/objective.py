"""The objective that the training loop minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


class Objective(nn.Module, ABC):
    """Everything that a stage trains, and its loss. Its state is the stage's checkpoint."""

    @abstractmethod
    def forward(self, *inputs: Any, **named: Any) -> dict[str, Tensor | float]:
        """Compute the loss.

        Args:
            inputs: the fields of the stage's batches after their number, then the number of finished optimiser updates
                of this stage. The first is waveforms (batch, samples), float32 at 16 kHz without padding.
            named: none.

        Returns:
            ``loss``, a scalar to minimise, and further scalars for ``training.csv``.
        """

    @abstractmethod
    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return torch's parameter groups for AdamW; ``learning_rate`` is the stage's."""

    def before_update(self, update: int, optimizer: Optimizer) -> None:
        """Change what is trained, and the optimiser with it. The change must depend only on checkpointed state.

        Args:
            update: finished updates of this stage.
            optimizer: optimiser of `parameter_groups`, without gradients.
        """
