"""The tutorial notebook is run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "tutorial.ipynb"
DATA = 'DATA = "mini"'


@pytest.mark.slow
def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded_data: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(DATA in cell.source for cell in code) == 1
    for cell in code:
        # The whole embedded corpora take a minute to synthesise.
        cell.source = cell.source.replace(DATA, f"DATA = {str(embedded_data)!r}")
    # The notebook starts `bench` as a user does in an activated environment.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    changes, difference = code[-2:]
    assert "broken" in "".join(output.get("text", "") for output in changes.outputs)
    assert float(difference.outputs[-1]["data"]["text/plain"]) < 1e-5
    assert (tmp_path / "student-hf" / "config.json").is_file()
