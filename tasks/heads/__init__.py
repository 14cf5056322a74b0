"""Downstream heads: their settings, training and learning-rate search."""
