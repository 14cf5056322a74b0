"""Builds models without random weights, for callers that fill in all weights."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch.overrides import TorchFunctionMode

from bench.upstream.config import UpstreamConfig
from bench.upstream.model import UpstreamModel


class _SkipInitialisation(TorchFunctionMode):
    """Leaves parameters uninitialised. This saves seconds of random numbers and keeps the caller's random state."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def uninitialised(config: UpstreamConfig) -> UpstreamModel:
    """Build a model with uninitialised parameters. The caller must fill in every one of them."""
    with _SkipInitialisation():
        return UpstreamModel(config)
