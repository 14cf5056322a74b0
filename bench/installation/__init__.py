"""Checks that the required packages are installed and work."""
