"""``python -m bench`` is ``bench``."""

from bench.cli import program

if __name__ == "__main__":
    program()
