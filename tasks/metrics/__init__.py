"""Task metrics, as counts per utterance."""
