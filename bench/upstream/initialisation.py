"""A model without the cost of random weights, for whoever fills them all anyway."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch.overrides import TorchFunctionMode

from bench.upstream.config import UpstreamConfig
from bench.upstream.model import UpstreamModel


class _SkipInitialisation(TorchFunctionMode):
    """Leave parameters uninitialised: it saves the seconds that random numbers take, and the caller's generator."""

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
    """Build a model whose parameters hold whatever the memory held; the caller fills every one of them."""
    with _SkipInitialisation():
        return UpstreamModel(config)
