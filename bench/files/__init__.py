"""Files that people hand in, read within limits; files of our own, written whole or not at all."""
