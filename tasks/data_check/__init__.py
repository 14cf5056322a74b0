"""``bench data check``: the size of every corpus, missing files, and possible mistakes."""
