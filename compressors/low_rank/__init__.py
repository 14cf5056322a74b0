"""Low-rank factors of linear layers, then recovery by distillation."""
