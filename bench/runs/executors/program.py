"""How another process starts this program."""

from __future__ import annotations

import sys

# Python 3.10 has no -P. Without it, files in the current folder would replace modules of the same name.
PYTHON = (sys.executable, "-P") if sys.version_info >= (3, 11) else (sys.executable,)
"""Starts Python."""
PROGRAM = (*PYTHON, "-m", "superb_bench")
"""Starts ``bench``; its arguments follow."""
