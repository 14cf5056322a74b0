"""Layouts of the real corpora, and manifests of the user's own recordings."""
