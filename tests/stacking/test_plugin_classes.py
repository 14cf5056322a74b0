"""What a plug-in's class must have, and what the base class adds to a plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench import registry
from bench.contracts import AudioSource, Compressor, Context, Settings
from bench.errors import UserError
from bench.stacking import compressor_parts


class PlainConfig(Settings):
    sparsity: float = 0.5
    """Share of the teacher to remove."""


class Plain:
    name = "plain"
    summary = "a class without the base class"
    config_type = PlainConfig
    presets: ClassVar = {"mini": PlainConfig()}

    def __init__(self, config: PlainConfig) -> None:
        self.config = config

    def check(self, teacher: Any, audio: AudioSource, context: Context) -> None:
        pass

    def compress(self, teacher: Any, audio: AudioSource, workdir: Path, context: Context) -> dict[str, Any]:
        return {}


class Incomplete:
    name = "incomplete"
    summary = "lacks nearly everything"


def provide(monkeypatch: pytest.MonkeyPatch, plugin: Any) -> None:
    monkeypatch.setattr(registry, "load", lambda group, name: plugin)


def test_plain_class_gets_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch, Plain)
    plugin = compressor_parts("plain")["plain"]
    compressor = plugin(PlainConfig(sparsity=0.25))
    assert issubclass(plugin, Compressor)
    assert compressor.target_sparsities() == {"plain": 0.25}
    assert not plugin.makes_reduced_linears
    with pytest.raises(UserError, match="plain"):
        compressor.warm_started(None, None, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plugin", "found"),
    [(Incomplete, "config_type, presets, check, compress"), (len, "no class")],
    ids=["class", "function"],
)
def test_refused(monkeypatch: pytest.MonkeyPatch, plugin: Any, found: str) -> None:
    provide(monkeypatch, plugin)
    with pytest.raises(UserError, match=found):
        compressor_parts(f"refused-{found[:2]}")
