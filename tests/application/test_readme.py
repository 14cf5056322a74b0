"""The README's commands are the ones that are really run."""

from __future__ import annotations

import configparser
from pathlib import Path

from bench.installation.requirements import requirements

REPOSITORY = Path(__file__).parent.parent.parent


def test_ci_runs_the_readme_s_commands() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## Two commands") : readme.index("## Compress, export")]
    commands = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    install, main_job, tests = commands
    assert install.endswith("pip install .")
    assert main_job == "bench run --compressor dphubert --tasks asr,ks"
    steps = [line.strip() for line in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()]
    # In the order of a fresh machine: what only the tests set up would not be noticed otherwise.
    found = [step for step in steps if step in (install, f"{main_job} --preset smoke", tests, "bench doctor")]
    assert found == [install, "bench doctor", f"{main_job} --preset smoke", tests]


def test_tox_pins_a_pair_that_pip_may_choose() -> None:
    """The pair that tests pin is one that an installation without pins admits."""
    tox = configparser.ConfigParser()
    tox.read(REPOSITORY / "tox.ini", encoding="utf-8")
    admitted = {one.name: one.specifier for one in requirements()}
    for environment in ("testenv", "testenv:oldest"):
        pins = [line for line in tox[environment]["deps"].split() if line.startswith("torch")]
        assert [pin.partition("=")[0] for pin in pins] == ["torch", "torchaudio"]
        for pin in pins:
            assert admitted[pin.partition("=")[0]].contains(pin.rpartition("=")[2])
