"""``bench data check``: what is there of every corpus, what is missing, and what is odd."""
