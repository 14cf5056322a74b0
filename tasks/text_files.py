"""Reads the text files of corpora."""

from bench.text_files import read_text

__all__ = ["read_text"]
