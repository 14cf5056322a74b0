"""Kinds of gates: masks of units that training opens and closes. `bench.upstream.gates` attaches them to a model.

Source: Louizos et al., L0 regularization (arXiv 1712.01312) section 2.2; DPHuBERT (arXiv 2305.17651) section 3.3, and
its reference implementation for the constants and the deterministic mask; Sparsity-aware Self-pinching Gates (arXiv
2505.22608), for one learnable threshold per gate instead of one number per unit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_CLOSED = {"conv": 0.01, "head": 0.01, "interm": 0.5, "attlayer": 0.01, "ffnlayer": 0.01}
"""How closed new gates are, in (0, 1). The reference implementation starts feed-forward units half closed."""
INITIAL_NOISE_STD = 0.01
SIZE_SLOPE = 3.0
"""``log_alpha`` of a self-pinching gate per standard deviation of its units' sizes."""
LARGEST_SIZE = 5.0
"""Larger deviations are clipped, so that a shift of ``log_alpha`` opens or closes any unit."""
INITIAL_OPENNESS = math.log(0.99 / 0.01) + SIZE_SLOPE
"""``log_alpha`` of a self-pinching gate's mean unit at the start. One standard deviation below, a unit is as open as a
hard-concrete gate at its start."""
LEAST_SPREAD = 0.01
"""Least standard deviation of the units' sizes. New models have units of nearly equal size."""

GateKind = Literal["hard_concrete", "self_pinching"]

TEMPERATURE = 2 / 3
STRETCH = 0.1
NOISE_MARGIN = 1e-6
HARDENED_SLOPE = 0.8
"""Sharpens the kept entries of the deterministic mask. A constant of the reference implementation."""


def open_probability(log_alpha: Tensor) -> Tensor:
    """Return the probability that each entry of a sample is non-zero, with the shape of ``log_alpha``."""
    return torch.sigmoid(log_alpha - TEMPERATURE * math.log(STRETCH / (1 + STRETCH)))


def log_closed_probability(log_alpha: Tensor) -> Tensor:
    """Return the log-probability that each entry of a sample is zero, with the shape of ``log_alpha``."""
    return F.logsigmoid(TEMPERATURE * math.log(STRETCH / (1 + STRETCH)) - log_alpha)


class Gate(nn.Module, ABC):
    """A mask of entries in [0, 1] whose expected number of non-zero entries is differentiable.

    All entries follow from ``log_alpha`` (size,): the higher, the more open.
    """

    log_alpha: Tensor

    def __init__(self, *, keeps_one: bool) -> None:
        """Prepare the gate.

        Args:
            keeps_one: if all entries would close, the one with the highest ``log_alpha`` stays open. The reference
                implementation lets the signal of a convolution vanish in training, and refuses to prune it.
        """
        super().__init__()
        self.keeps_one = keeps_one

    @abstractmethod
    def drawn(self) -> Tensor:
        """Return a mask (size,) for training."""

    def forward(self) -> Tensor:
        """Return a mask (size,): that of `drawn` in training mode, `hardened` in evaluation mode."""
        return self.drawn() if self.training else self.hardened()

    def sample(self, noise: Tensor) -> Tensor:
        """Return the mask (size,) for uniform noise (size,) in (0, 1)."""
        concrete = torch.sigmoid((noise.logit() + self.log_alpha) / TEMPERATURE)
        return self._with_one((concrete * (1 + 2 * STRETCH) - STRETCH).clamp(0.0, 1.0))

    def expected_open(self) -> Tensor:
        """Return the expected number of non-zero entries of a sample, a scalar."""
        return open_probability(self.log_alpha).sum()

    def hardened(self, shift: float = 0.0) -> Tensor:
        """Return the deterministic mask (size,): the expected number of entries is zero, the others are soft.

        It is computed from ``log_alpha`` at every call, and gradients flow through it.

        Args:
            shift: added to ``log_alpha``.
        """
        log_alpha = self.log_alpha + shift
        soft = torch.sigmoid(log_alpha / TEMPERATURE * HARDENED_SLOPE)
        # `round` rounds half to even, like the reference implementation.
        num_zeros = round(soft.numel() - open_probability(log_alpha).sum().item())
        return self._with_one(soft.index_fill(0, soft.topk(num_zeros, largest=False).indices, 0.0))

    def _with_one(self, mask: Tensor) -> Tensor:
        if not self.keeps_one:
            return mask
        last = torch.zeros_like(mask).index_fill(0, self.log_alpha.argmax(), 1.0)
        return torch.where(mask.any(), mask, last)


class HardConcrete(Gate):
    """A gate that learns one ``log_alpha`` per entry, and is sampled with noise in training."""

    def __init__(self, size: int, initial_closed: float, *, keeps_one: bool = False) -> None:
        super().__init__(keeps_one=keeps_one)
        mean = math.log(1 - initial_closed) - math.log(initial_closed)
        self.log_alpha = nn.Parameter(torch.normal(mean, INITIAL_NOISE_STD, (size,)))

    def drawn(self) -> Tensor:
        """Return a random mask (size,)."""
        return self.sample(torch.empty_like(self.log_alpha).uniform_(NOISE_MARGIN, 1 - NOISE_MARGIN))


class SelfPinching(Gate):
    """A gate that learns one threshold: units whose weights are small compared with it close. It has no noise.

    A unit's size is the logarithm of the root mean square of the weights that go with it, standardised over the layer
    with the moments of the start. ``log_alpha`` rises with the size. Gradients reach the weights too, so units near the
    threshold grow or shrink.

    Source: arXiv 2505.22608, which gates single weights by their size. Whole units, and the constants, are our own.
    """

    mean: Tensor
    """Mean log size of the units at the start."""
    spread: Tensor
    """Standard deviation of the log sizes at the start."""

    def __init__(self, weights: Callable[[], Sequence[Tensor]], *, keeps_one: bool = False) -> None:
        """Start with all units open except those that are exceptionally small.

        Args:
            weights: returns the current weights of the units, in parts of shape (units, weights of one).
            keeps_one: see `Gate`.
        """
        super().__init__(keeps_one=keeps_one)
        self._weights = weights
        with torch.no_grad():
            sizes = self._log_sizes()
        spread = sizes.std() if len(sizes) > 1 else torch.ones(())
        self.register_buffer("mean", sizes.mean())
        self.register_buffer("spread", spread.clamp(min=LEAST_SPREAD))
        self.offset = nn.Parameter(torch.tensor(INITIAL_OPENNESS))
        """Minus the threshold, in units of ``log_alpha``."""

    @property
    def log_alpha(self) -> Tensor:  # type: ignore[override]
        """The openness of each unit, (units,)."""
        sizes = (self._log_sizes() - self.mean) / self.spread
        return SIZE_SLOPE * sizes.clamp(-LARGEST_SIZE, LARGEST_SIZE) + self.offset

    def drawn(self) -> Tensor:
        """Return the mask (size,), the same in every pass with the same weights."""
        log_alpha = self.log_alpha
        return self.sample(torch.full_like(log_alpha, 0.5))

    def _log_sizes(self) -> Tensor:
        parts = self._weights()
        squares = torch.stack([part.float().square().sum(1) for part in parts]).sum(0)
        return (squares / sum(part.shape[1] for part in parts)).clamp(min=torch.finfo(torch.float32).tiny).log() / 2


class FixedGate(Gate):
    """A gate that no longer learns: ``log_alpha`` is stored. Reading it costs nothing, however often."""

    def __init__(self, gate: Gate) -> None:
        """Take over the present ``log_alpha`` of ``gate``."""
        super().__init__(keeps_one=gate.keeps_one)
        self.register_buffer("log_alpha", gate.log_alpha.detach())

    def drawn(self) -> Tensor:
        """Return the mask (size,) of `hardened`."""
        return self.hardened()
