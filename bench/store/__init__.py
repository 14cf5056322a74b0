"""A run's folder on disk: written atomically, safe with many writers, rebuilt from records alone."""
