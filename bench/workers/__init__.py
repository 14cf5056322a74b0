"""Worker processes that read audio: their errors, and their transfer of tensors."""
