"""Upstreams that this project did not write: plug-ins of other packages, and modules of the running program."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench import registry
from bench.errors import UserError
from bench.text import shortened

GROUP: registry.Group = "bench.upstreams"
"""Entry-point group. An entry is a callable without arguments that returns a module in evaluation mode."""

_MEMBERS = ("stride", "num_layers", "dim")


class PluginUpstream(nn.Module):
    """A module that satisfies `bench.contracts.Upstream`, with its outputs checked.

    Args:
        module: the module.
        name: its name in messages.

    Raises:
        UserError: the module lacks a member of the contract, or has it with another type or sign.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self._name = name
        self.module = _checked(module, name).eval()
        self.stride, self.num_layers, self.dim = (int(getattr(module, member)) for member in _MEMBERS)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Compute hidden states; see `bench.contracts.Upstream`.

        Raises:
            UserError: their number, shape or type is not what the contract says.
        """
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1])
        output = self.module(waveforms, lengths)
        if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], (list, tuple))):
            raise self._fault("a list of hidden states and a tensor of frame lengths", type(output).__name__)
        for value in (*output[0], output[1]):
            if not isinstance(value, Tensor):
                raise self._fault("hidden states and frame lengths as tensors", type(value).__name__)
        states, frame_lengths = list(output[0]), output[1]
        if len(states) != self.num_layers + 1:
            raise self._fault(f"num_layers + 1 = {self.num_layers + 1} hidden states", str(len(states)))
        frames = states[0].shape[1] if states[0].ndim == 3 else -1
        for state in states:
            if tuple(state.shape) != (len(waveforms), frames, self.dim):
                raise self._fault(f"hidden states ({len(waveforms)}, frames, {self.dim})", str(tuple(state.shape)))
        if tuple(frame_lengths.shape) != (len(waveforms),) or frame_lengths.is_floating_point():
            raise self._fault(f"{len(waveforms)} whole numbers as frame lengths", str(tuple(frame_lengths.shape)))
        return states, frame_lengths

    def _fault(self, expected: str, found: str) -> UserError:
        return UserError(f"Expected the upstream {self._name} to return {expected}. Found {found}.")


def load_plugin(name: str) -> PluginUpstream:
    """Build an upstream that another package registers in the group ``bench.upstreams``.

    Raises:
        UserError: no package has it, it cannot be imported, or it does not satisfy the contract.
    """
    make = registry.load(GROUP, name)
    if not callable(make):
        raise UserError(f"Expected {GROUP} {name!r} to be a callable that returns a module. Found {make!r}.")
    return PluginUpstream(make(), name)


_modules: dict[str, nn.Module] = {}
PREFIX = "python:"
"""Prefix of references to modules of the running program."""


def refer_to(module: nn.Module, name: str) -> str:
    """Make a module of the running program available as a model reference of this process.

    Args:
        module: an upstream of this suite, or any module that satisfies `bench.contracts.Upstream`.
        name: its name in tables.

    Returns:
        The reference, ``python:<name>``. It means nothing to other processes.

    Raises:
        UserError: the module does not satisfy the contract.
    """
    _modules[name] = _checked(module, name)
    return PREFIX + name


def module_of(reference: str) -> nn.Module:
    """Return the module of the running program that a reference names.

    Raises:
        UserError: there is none, as in any other process than the one that made the reference.
    """
    name = reference.removeprefix(PREFIX)
    if name not in _modules:
        raise UserError(
            f"{shortened(reference)} is a module in the memory of the Python program that began the run. "
            "Other processes cannot load it. Continue in that program, with bench.evaluate."
        )
    return _modules[name]


def _checked(module: object, name: str) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise UserError(f"Expected the upstream {name} to be a torch.nn.Module. Found {type(module).__name__}.")
    for member in _MEMBERS:
        value = getattr(module, member, None)
        least = 0 if member == "num_layers" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(
                f"Expected the upstream {name} to have {member}, a whole number of at least {least}. "
                f"Found {shortened(repr(value))}. See bench.contracts.Upstream."
            )
    return module
