"""The training loop of all methods: objective, audio, checkpoints, history, precision, processes."""
