"""The report as one page that works from disk, without any network."""
