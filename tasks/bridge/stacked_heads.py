"""Trains several pooled heads at once: their weights are stacked, and every operation works on all of them.

The heads are s3prl's ``MeanPoolingLinear`` after its ``Featurizer``, on time means of the hidden states. A head in a
stack equals the head that s3prl trains alone, up to rounding: batches, clipping of gradients, steps of Adam and steps
left out because of NaN are each head's own. Operations are in s3prl's order, so on most CPUs not even rounding differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import stack_module_state
from torch.nn import functional

EVALUATED_UTTERANCES = 512
"""Utterances that pass through all heads at once in an evaluation."""
LAYER_WEIGHTS = "featurizer.weights"
"""Name of the featurizer's parameter. Heads on a single hidden state have none."""
_FIRST_DECAY, _SECOND_DECAY, _EPSILON = 0.9, 0.999, 1e-8
"""Adam's defaults, which s3prl's recipes use."""


class Table:
    """The utterances of one split, on the device.

    Args:
        means: (utterances, states, dim) time means of the hidden states. They are not copied if all means of one state
            lie together in memory.
        classes: (utterances, slots), the right class of each slot.
    """

    def __init__(self, means: Tensor, classes: Tensor) -> None:
        self._num_utterances, self._num_states, self._dim = means.shape
        # All means of one state lie together, so that a batch is gathered in the order in which s3prl sums states.
        self._rows = means.transpose(0, 1).flatten(0, 1)
        self._offsets = torch.arange(self._num_states, device=means.device)[:, None] * self._num_utterances
        self.classes = classes

    def means(self, positions: Tensor) -> Tensor:
        """Gather (heads, states, batch * dim) for positions (heads, batch)."""
        chosen = (positions[:, None] + self._offsets).flatten()
        return self._rows.index_select(0, chosen).view(len(positions), self._num_states, -1)


@dataclass(frozen=True)
class AdamState:
    """The state of one head's optimizer, by parameter."""

    steps: float
    means: Mapping[str, Tensor]
    squares: Mapping[str, Tensor]


class StackedHeads:
    """Several heads of one shape in training.

    Args:
        heads: s3prl's ``UpstreamDownstreamModel``; their weights are copied.
        states: of their optimizers; None for a head that has made no step yet.
        learning_rates: one for each head.
        slots: number of classes of each slot.
        clipping: largest norm of a head's gradient.
    """

    def __init__(
        self,
        heads: Sequence[nn.Module],
        states: Sequence[AdamState | None],
        learning_rates: Sequence[float],
        slots: Sequence[int],
        clipping: float,
    ) -> None:
        stacked, _ = stack_module_state(list(heads))
        self._layers = [name.removesuffix(".weight") for name in stacked if name.endswith(".weight")]
        self._shapes = {name: weight.shape[1:] for name, weight in stacked.items()}
        self._slots = list(slots)
        self._clipping = clipping
        # One row for each head, so that the optimizer needs one operation for all parameters.
        self._weights = _rows({name: weight.detach() for name, weight in stacked.items()})
        self._gradients = torch.zeros_like(self._weights)
        self._first = torch.zeros_like(self._weights)
        self._second = torch.zeros_like(self._weights)
        # In double precision, as Python's numbers in torch's own Adam.
        self._steps = torch.zeros(len(heads), 1, dtype=torch.float64, device=self._weights.device)
        self._rates = self._steps.new_tensor(list(learning_rates))[:, None]
        for row, state in enumerate(states):
            if state is not None:
                self._steps[row] = state.steps
                self._first[row] = _row(state.means, self._shapes)
                self._second[row] = _row(state.squares, self._shapes)
        self._parameters = self._split(self._weights)
        for parameter, gradient in zip(self._parameters.values(), self._split(self._gradients).values(), strict=True):
            parameter.requires_grad_().grad = gradient

    def __len__(self) -> int:
        return len(self._weights)

    def step(self, table: Table, positions: Tensor, shares: Tensor) -> None:
        """Update every head.

        Args:
            table: the training utterances.
            positions: (heads, batch) of each head's utterances.
            shares: (batch,) weight of each utterance in the loss.
        """
        losses = self._losses(self._logits(table, positions), table.classes[positions])
        self._gradients.zero_()
        (losses * shares).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self._update()

    @torch.no_grad()
    def evaluate(self, table: Table, positions: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Score every head.

        Args:
            table: the utterances.
            positions: (utterances,) of those to score, some perhaps several times.
            shares: (utterances,) weight of each in the loss.

        Returns:
            (heads,) losses, and (heads,) numbers of utterances with all slots right.
        """
        losses, correct = [], []
        for part, weights in zip(
            torch.split(positions, EVALUATED_UTTERANCES), torch.split(shares, EVALUATED_UTTERANCES), strict=True
        ):
            of_all = part.expand(len(self), -1)
            logits, classes = self._logits(table, of_all), table.classes[of_all]
            losses.append((self._losses(logits, classes) * weights).sum(1))
            answers = torch.stack([slot.argmax(-1) for slot in torch.split(logits, self._slots, dim=-1)], dim=-1)
            correct.append((answers == classes).all(-1).sum(1))
        return torch.stack(losses).sum(0), torch.stack(correct).sum(0)

    def weights_of(self, head: int) -> dict[str, Tensor]:
        """Return a copy of a head's weights, by parameter."""
        return self._copied(self._weights, head)

    def optimizer_of(self, head: int) -> AdamState:
        """Return a copy of the state of a head's optimizer."""
        return AdamState(self._steps[head].item(), self._copied(self._first, head), self._copied(self._second, head))

    def _logits(self, table: Table, positions: Tensor) -> Tensor:
        """Apply every head to its utterances (heads, batch): (heads, batch, classes)."""
        means = table.means(positions)
        weights = self._parameters.get(LAYER_WEIGHTS)
        summed = means[:, 0] if weights is None else (weights.softmax(-1)[..., None] * means).sum(1)
        outputs = summed.view(*positions.shape, -1)
        for layer in self._layers:
            weight, bias = self._parameters[f"{layer}.weight"], self._parameters[f"{layer}.bias"]
            outputs = torch.baddbmm(bias[:, None], outputs, weight.mT)
        return outputs

    def _losses(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Sum the slots' cross entropies: (heads, batch)."""
        losses = [
            functional.cross_entropy(slot.flatten(0, 1), right.flatten(), reduction="none").view(right.shape)
            for slot, right in zip(torch.split(logits, self._slots, dim=-1), classes.unbind(-1), strict=True)
        ]
        return torch.stack(losses).sum(0) if len(losses) > 1 else losses[0]

    def _update(self) -> None:
        """Clip the gradients and make a step of Adam, as ``torch.optim.Adam`` does. NaN leaves out a head's step."""
        parts = [gradient.norm(dim=1) for gradient in torch.split(self._gradients, self._sizes(), dim=1)]
        norms = torch.stack(parts, dim=1).norm(dim=1, keepdim=True)
        is_number = ~norms.isnan()
        factors = torch.where(is_number, (self._clipping / (norms + 1e-6)).clamp(max=1.0), 0.0)
        gradients = torch.where(is_number, self._gradients, 0.0).mul_(factors)
        dtype, counted = gradients.dtype, is_number.double()
        self._steps += counted
        self._first.lerp_(gradients, ((1 - _FIRST_DECAY) * counted).to(dtype))
        self._second.mul_((_SECOND_DECAY**counted).to(dtype))
        self._second.addcmul_(gradients, gradients, value=1 - _SECOND_DECAY)
        # A head that has made no step yet makes none here, and divides by no zero.
        steps = self._steps.clamp(min=1)
        sizes = counted * self._rates / (1 - _FIRST_DECAY**steps)
        corrections = (1 - _SECOND_DECAY**steps).sqrt()
        denominators = self._second.sqrt().div_(corrections.to(dtype)).add_(_EPSILON)
        moves = torch.mul(self._first, -sizes.to(dtype), out=gradients)
        self._weights.addcdiv_(moves, denominators)

    def _sizes(self) -> list[int]:
        return [shape.numel() for shape in self._shapes.values()]

    def _copied(self, rows: Tensor, head: int) -> dict[str, Tensor]:
        return {name: part[head].clone() for name, part in self._split(rows).items()}

    def _split(self, rows: Tensor) -> dict[str, Tensor]:
        """View (heads, parameters) as parameters of their own shapes."""
        parts = torch.split(rows.detach(), self._sizes(), dim=1)
        return {
            name: part.view(len(rows), *shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }


def _rows(stacked: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([weight.flatten(1) for weight in stacked.values()], dim=1)


def _row(values: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> Tensor:
    return torch.cat([values[name].flatten() for name in shapes])
