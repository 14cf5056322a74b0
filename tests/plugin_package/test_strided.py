"""The package's own tests: all that is asked of an upstream."""

from strided_upstream import make_upstream

from bench.testing import UpstreamConformance


class TestStrided(UpstreamConformance):
    upstream = staticmethod(make_upstream)
