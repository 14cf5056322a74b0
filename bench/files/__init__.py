"""Reads the user's files within limits, and writes the suite's own files completely or not at all."""
