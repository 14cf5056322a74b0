"""Hidden states of frozen upstreams, computed once an utterance and kept on disk."""
