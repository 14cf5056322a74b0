"""Shared by verbs and plug-in commands: output, common options and their choices."""
