"""The README's commands are the ones that are really run."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


def test_ci_runs_the_readme_s_commands() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in readme.splitlines() if line.startswith("    python3 -m pip install tox")]
    main_job, tests = commands
    assert main_job.endswith("-- bench run --compressor dphubert --tasks asr,ks")
    # In the order of a fresh machine: what only the tests set up would not be noticed otherwise.
    assert (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").endswith(f"\n{main_job} --preset smoke\n{tests}\n")
