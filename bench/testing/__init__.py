"""The conformance test that authors of a compressor run on it; see ``docs/plugins.md``.

Its methods are plain pytest tests, but nothing here imports pytest.
"""

from bench.testing.conformance import CompressorConformance
from bench.testing.material import TEACHER_SHAPES, tiny_teacher, write_speech

__all__ = ["TEACHER_SHAPES", "CompressorConformance", "tiny_teacher", "write_speech"]
