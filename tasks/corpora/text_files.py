"""Reads text files of corpora."""

from bench.files.text import read_text

__all__ = ["read_text"]
