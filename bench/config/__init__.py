"""The typed configuration of a run: presets, overrides, data files, and how they are resolved."""
