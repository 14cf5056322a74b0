"""superb-bench: compress self-supervised speech models and measure what it costs on SUPERB."""
