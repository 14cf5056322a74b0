"""The package's own tests: all that is asked of a compressor."""

from halving_compressor import Halving

from bench.testing import CompressorConformance


class TestHalving(CompressorConformance):
    compressor = Halving
    settings = ("checkpoint_updates=2",)
