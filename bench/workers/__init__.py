"""Processes that help this one: those that read audio, and those that train together on several devices."""
