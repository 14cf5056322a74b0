"""The suite in Python: what ``import bench`` offers. See docs/python.md."""
