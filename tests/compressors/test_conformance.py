"""The suite's own compressors fulfil what is asked of plug-ins."""

from __future__ import annotations

from bench.testing import CompressorConformance
from compressors.distill_only import DistillOnly
from compressors.dphubert.compressor import DPHuBERT
from compressors.int8 import Int8
from compressors.low_rank.compressor import LowRank
from compressors.masked_distill import MaskedDistill
from compressors.prune_only.compressor import PruneOnly

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


class TestLowRank(CompressorConformance):
    compressor = LowRank
    settings = OFTEN


class TestInt8(CompressorConformance):
    compressor = Int8
    resumes = False


class TestStaticInt8(CompressorConformance):
    compressor = Int8
    settings = ("activations=static", "calibration_s=4")
    resumes = False


class TestMaskedDistill(CompressorConformance):
    compressor = MaskedDistill
    settings = OFTEN


class TestSelfPinchingGates(CompressorConformance):
    compressor = DPHuBERT
    settings = (*OFTEN, "gates=self_pinching", "targets=groups", "similarity_batches=1")


class TestGlobalAllocation(CompressorConformance):
    compressor = PruneOnly
    settings = (*OFTEN, "allocation=global", "unit_source=mfcc")


class TestUnitsAtEveryFrame(CompressorConformance):
    compressor = MaskedDistill
    settings = (*OFTEN, "masked=false", "unit_layers=[1,2]")
