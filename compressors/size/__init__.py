"""Target sizes, what a method may remove to reach them, and the ranges of what it rounds."""
