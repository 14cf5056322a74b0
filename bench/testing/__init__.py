"""The conformance tests that authors run on their own compressors and upstreams; see ``docs/plugins.md``.

Its methods are plain pytest tests, but nothing here imports pytest.
"""

from bench.testing.conformance import CompressorConformance
from bench.testing.material import TEACHER_SHAPES, tiny_teacher, write_speech
from bench.testing.upstream_conformance import UpstreamConformance

__all__ = ["TEACHER_SHAPES", "CompressorConformance", "UpstreamConformance", "tiny_teacher", "write_speech"]
