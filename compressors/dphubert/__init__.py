"""DPHuBERT: joint distillation and structured pruning, then distillation of the pruned model (arXiv 2305.17651)."""
