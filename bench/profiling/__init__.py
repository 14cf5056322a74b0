"""The cost of a model: counted parameters, bytes and MACs; measured latency and memory."""

from bench.profiling.cards import model_card

__all__ = ["model_card"]
