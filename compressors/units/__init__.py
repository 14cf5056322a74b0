"""Discrete units: k-means clusters of frame features, and the label of every frame."""
