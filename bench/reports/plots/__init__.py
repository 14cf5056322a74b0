"""Figures for papers, drawn from a run's records and models; one file per kind of figure."""
