"""Ways to work through a list of items."""
