"""Whether the packages that the suite needs are there and work."""
