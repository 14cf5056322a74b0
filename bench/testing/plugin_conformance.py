"""The requirements on the description of every plug-in with settings and presets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import ValidationError

from bench import registry
from bench.config.overrides import nested, parse_overrides, validated
from bench.contracts import Settings
from bench.testing.checks import undocumented_fields


class PluginConformance(ABC):
    """Tests that a plug-in is found, and that its settings and presets can be shown, checked and stored."""

    group: ClassVar[registry.Group]
    """Of its entry point."""
    settings: ClassVar[tuple[str, ...]] = ()
    """Written as after ``--set``: changes to the preset that the tests run."""

    @property
    @abstractmethod
    def plugin(self) -> Any:
        """The class under test."""

    def test_is_found_by_its_name(self) -> None:
        """Commands find it by its entry point, and results are stored under its name."""
        name = self.plugin.name
        assert name in registry.names(self.group), (
            f"Expected an entry point {name!r} in the group {self.group}. Found "
            f"{', '.join(registry.names(self.group))}. Declare it, and install the package."
        )
        found = registry.load(self.group, name)
        assert found is self.plugin, f"The entry point {name!r} is {found}. Expected {self.plugin}."

    def test_summary_is_one_line(self) -> None:
        """`bench list` shows it."""
        summary = self.plugin.summary
        assert summary.strip() and "\n" not in summary, f"Expected a summary of one line. Found {summary!r}."

    def test_settings_are_documented(self) -> None:
        """Docstrings of fields are the only help of ``--set``."""
        missing = undocumented_fields(self.plugin.config_type)
        assert not missing, f"Expected a docstring below every setting. Found none below {', '.join(missing)}."

    def test_settings_refuse_what_they_do_not_know(self) -> None:
        """A misspelt setting must not be ignored, and a recorded one must not change."""
        kind = self.plugin.config_type
        assert issubclass(kind, Settings), f"Expected a subclass of bench.contracts.Settings. Found {kind.__name__}."
        try:
            kind.model_validate({**self._preset("smoke"), "no_such_setting": 1})
        except ValidationError as error:
            refusal = str(error)
        else:
            refusal = ""
        assert "no_such_setting" in refusal, (
            f"{kind.__name__} takes the key no_such_setting. Leave extra='forbid' as it is."
        )
        assert kind.model_config.get("frozen"), f"{kind.__name__} can be changed. Leave frozen=True as it is."

    def test_presets_are_complete(self) -> None:
        """A run records its settings as JSON, and repeats from them."""
        for name in ("paper", "mini", "smoke"):
            assert name in self.plugin.presets, f"Expected a preset {name!r}. Found {[*self.plugin.presets]}."
        kind = self.plugin.config_type
        for name, preset in self.plugin.presets.items():
            assert type(preset) is kind, f"Expected the preset {name!r} to be a {kind.__name__}. Found {type(preset)}."
            again = kind.model_validate_json(preset.model_dump_json())
            assert again == preset, f"The preset {name!r} does not survive being written as JSON: {again} != {preset}."

    def _preset(self, name: str) -> dict[str, Any]:
        # Leave out fields that the preset leaves unset, because settings may reject them in combination with others.
        preset: Settings = self.plugin.presets[name]
        return preset.model_dump(exclude_unset=True)

    def _configuration(self, *settings: str, preset: str = "smoke") -> Settings:
        """Return a preset with the author's and further settings."""
        changes = {**parse_overrides(self.settings), **parse_overrides(settings)}
        kind: type[Settings] = self.plugin.config_type
        return validated(kind, nested(changes, self._preset(preset)), f"preset {preset}")
