"""What the tests of several kinds of plug-ins check alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from bench.contracts import Settings
from bench.errors import UserError
from bench.upstream import AnyUpstream, weights_hash

LONGEST_MESSAGE = 400
"""Characters of an error's one line."""


def is_refused(call: Callable[[], object]) -> bool:
    """Return whether a call raises a `UserError`, whose message must be one line; other errors pass through."""
    try:
        call()
    except UserError as error:
        message = str(error)
        assert message.strip() and "\n" not in message, f"Expected an error of one line. Found {message!r}."
        assert len(message) <= LONGEST_MESSAGE, (
            f"Expected an error of at most {LONGEST_MESSAGE} characters. Found {len(message)}: {message}"
        )
        return True
    return False


def undocumented_fields(kind: type[Settings]) -> list[str]:
    """List the fields of a type of settings, and of the types in it, that have no docstring."""
    schema = kind.model_json_schema()
    types = {kind.__name__: schema, **schema.get("$defs", {})}
    return [
        f"{name}.{field}"
        for name, each in types.items()
        for field, properties in each.get("properties", {}).items()
        if "description" not in properties
    ]


def two_utterances() -> tuple[Tensor, Tensor]:
    """Return waveforms and lengths of two utterances, 0.25 s and 0.15 s."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([4000, 2400])
    return torch.randn(2, 4000, generator=generator) * (torch.arange(4000) < lengths[:, None]), lengths


def observed(upstream: AnyUpstream) -> dict[str, object]:
    """Return all properties of a model that other code could notice."""
    module = cast(nn.Module, upstream)
    return {
        "weights": weights_hash(module),
        "training mode": {path: each.training for path, each in module.named_modules()},
        "requires_grad": {path: parameter.requires_grad for path, parameter in module.named_parameters()},
        "gradients": {path: parameter.grad is None for path, parameter in module.named_parameters()},
        "hidden states": [state.tolist() for state in upstream(*two_utterances())[0]],
    }
