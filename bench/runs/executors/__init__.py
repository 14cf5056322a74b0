"""Ways to carry out a work list."""
