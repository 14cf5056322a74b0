"""The program ``bench``.

It starts here, under a name that no other project uses, because a `bench.py` on the path would hide our package.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Run the command line, unless the name `bench` leads to another project's files."""
    expected = Path(__file__).resolve().parent / "bench" / "__init__.py"
    spec = find_spec("bench")
    found = Path(spec.origin).resolve() if spec and spec.origin else None
    if found != expected:
        sys.stderr.write(
            f"error: The name 'bench' leads to {found or 'no package'}, which is not part of superb-bench "
            f"({expected.parent} is). Rename it, take its folder out of PYTHONPATH, or install superb-bench again.\n"
        )
        sys.exit(2)

    from bench.cli import program as run

    run()


if __name__ == "__main__":
    main()
