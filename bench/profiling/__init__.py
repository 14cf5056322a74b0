"""What a model costs: parameters, bytes and MACs, counted; latency and memory, measured."""

from bench.profiling.cards import model_card

__all__ = ["model_card"]
