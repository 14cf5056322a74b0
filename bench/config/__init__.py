"""The typed configuration of a run: presets, overrides, data files, and what they resolve to."""
