"""Worker processes that read audio: their errors, and how they send tensors."""
