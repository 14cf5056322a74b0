"""Carries out a run: compressions, evaluations, resuming."""
