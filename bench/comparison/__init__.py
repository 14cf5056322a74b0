"""Which differences between models are significant, and what compression broke."""
