"""Training objectives: hidden-state distillation and masked unit prediction."""
