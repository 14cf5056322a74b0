"""The conformance tests that authors run on their own compressors, tasks and upstreams; see ``docs/plugins.md``.

Their methods are plain pytest tests, but nothing here imports pytest.
"""

from bench.testing.conformance import CompressorConformance
from bench.testing.material import TEACHER_SHAPES, tiny_teacher, write_speech
from bench.testing.task_conformance import TaskConformance
from bench.testing.upstream_conformance import UpstreamConformance

__all__ = [
    "TEACHER_SHAPES",
    "CompressorConformance",
    "TaskConformance",
    "UpstreamConformance",
    "tiny_teacher",
    "write_speech",
]
