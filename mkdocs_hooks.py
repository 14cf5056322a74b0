"""What mkdocs cannot do alone: pages made from the program and the notebook, and links to files of the repository."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from bench.cli.app import command

REPOSITORY = Path(__file__).parent
DOCS = REPOSITORY / "docs"
LINK = re.compile(r"(?<=\]\()((?:\.\./)+[^)#\s]+)")
COMMAND_LINE = "reference/command-line.md"
TUTORIAL = "tutorial.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the files that pages link to outside of the folder of the docs."""
    pages = files.documentation_pages()
    files.append(File.generated(config, COMMAND_LINE, content=command_line()))
    files.append(File.generated(config, TUTORIAL, content=tutorial()))
    texts = {page.src_uri: (DOCS / page.src_uri).read_text(encoding="utf-8") for page in pages}
    found = {linked(page, target) for page, text in texts.items() for target in LINK.findall(text)}
    for path in sorted(path for path in found if path is not None):
        files.append(File.generated(config, place(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs names them
    """Point links outside of the docs at the copies in the site."""

    def moved(match: re.Match[str]) -> str:
        path = linked(page.file.src_uri, match[1])
        return match[1] if path is None else os.path.relpath(place(path), Path(page.file.src_uri).parent)

    return LINK.sub(moved, markdown)


def linked(page: str, target: str) -> Path | None:
    """Return the file that a link of a page means, None if it is one of the docs; of a run's folder, its table."""
    path = (DOCS / page).parent.joinpath(target).resolve()
    if path.is_relative_to(DOCS):
        return None
    return path / "leaderboard.csv" if path.is_dir() else path


def place(path: Path) -> str:
    """Return where the site keeps a file of the repository. Markdown is kept as text, because it is no page."""
    return f"repository/{path.relative_to(REPOSITORY)}{'.txt' if path.suffix == '.md' else ''}"


def tutorial() -> str:
    """Convert the notebook, with the outputs that are stored in it."""
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))
    return "\n\n".join(part for cell in notebook["cells"] for part in cell_parts(cell))


def cell_parts(cell: dict[str, Any]) -> Iterator[str]:
    """Write a cell and its outputs, tables as HTML, as parts of a page."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        text = "".join(output.get("text") or data["text/plain"])
        yield "".join(data["text/html"]) if "text/html" in data else f"```text\n{text.rstrip()}\n```"


def command_line() -> str:
    """Write the reference of every command, from the program itself."""
    root = command()
    root.commands = {name: verb for name, verb in root.commands.items() if not verb.hidden}
    text = get_docs_for_click(obj=root, ctx=typer.Context(root), name="bench", title="Command line")
    # Outside of code, Markdown reads names in angle brackets as HTML.
    return re.sub(r"`[^`]*`|<(?=[a-z])", lambda found: "&lt;" if found[0] == "<" else found[0], text)
