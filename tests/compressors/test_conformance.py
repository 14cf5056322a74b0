"""The suite's own compressors fulfil what is asked of plug-ins."""

from __future__ import annotations

from bench.testing import CompressorConformance
from compressors.distill_only import DistillOnly
from compressors.dphubert import DPHuBERT
from compressors.prune_only import PruneOnly

OFTEN = ("checkpoint_updates=2",)


class TestDPHuBERT(CompressorConformance):
    compressor = DPHuBERT
    settings = OFTEN


class TestDistillOnly(CompressorConformance):
    compressor = DistillOnly
    settings = OFTEN


class TestPruneOnly(CompressorConformance):
    compressor = PruneOnly
    settings = OFTEN
