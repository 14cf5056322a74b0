"""Figures for papers, drawn from a run's records and models alone; one file a kind of figure."""
