"""Lets tests import what lies beside the benchmarks' commands, as Python does when it runs one of them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
