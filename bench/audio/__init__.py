"""Audio files, the sources that list them, and manifests."""
