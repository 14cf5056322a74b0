"""Hidden states of frozen upstreams, computed once per utterance and stored on disk."""
