"""Structured pruning by importance, then recovery by masked prediction."""
