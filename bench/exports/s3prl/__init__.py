"""Folders with an upstream for s3prl."""
