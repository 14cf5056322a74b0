"""Progress of long preparations; see `bench.progress`."""

from bench.progress import Progress, TimeLeft, duration, tracked

__all__ = ["Progress", "TimeLeft", "duration", "tracked"]
