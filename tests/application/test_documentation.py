"""The documentation: its commands are commands of the program, and its first plug-in works as printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import bench
from bench.cli.app import command
from bench.upstream.config import uniform_config
from bench.upstream.random_shapes import random_model

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PLACEHOLDERS = re.compile(r"\.\.\.|\.\.\]|\[--|\||\$|;|&")
"""In lines that show a form, or a part of a shell script, instead of a command."""
EXPLANATION = re.compile(r" {3,}.*")


def commands(page: Path) -> Iterator[str]:
    """List the lines of a page that begin with the program's name, with their continuations."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^(?: {4,})?(bench .*)$", text, re.MULTILINE):
        shown = EXPLANATION.sub("", re.sub(r" {2,}(?=-)", " ", line))
        if not PLACEHOLDERS.search(shown):
            yield shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_have_the_options_of_the_program(page: Path) -> None:
    root = command()
    for line in commands(page):
        _, *arguments = shlex.split(line, comments=True)
        with root.make_context("bench", list(arguments)) as context:
            verb: Any = root
            while hasattr(verb, "resolve_command") and not arguments[0].startswith("-"):
                name, verb, arguments = verb.resolve_command(context, arguments)
            # Reads the options, and runs nothing.
            verb.make_context(name, arguments, parent=context)


def test_there_are_commands() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 60


def test_the_first_compressor_works_as_printed(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "how-to" / "plugin-compressor.md").read_text(encoding="utf-8")
    code, project = (re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)[0] for language in ("python", "toml"))
    assert len([line for line in code.splitlines() if line.strip()]) <= 17
    values: dict[str, Any] = {}
    exec(code, values)
    method = values["FirstLayers"](values["FirstLayers"].presets["mini"])
    assert f'{method.name} = "first_layers:FirstLayers"' in project
    teacher = random_model(
        uniform_config("wavlm", dim=32, num_layers=4, total_heads=4, feed_forward=64, conv_channels=8)
    )
    (student,) = method.compress(teacher.eval(), None, tmp_path, None).values()
    waveforms = torch.randn(1, 4000)
    states, expected = (model.eval()(waveforms)[0] for model in (student, teacher))
    assert len(states) == 3
    assert all(torch.equal(mine, others) for mine, others in zip(states, expected, strict=False))


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == bench.__version__.partition("+")[0]
