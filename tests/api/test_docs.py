"""The examples of docs/python.md are run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs" / "python.md"


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1], ids=["compress", "own-model"])
def test_example(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded_data: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[index]
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {}
    # The whole embedded corpora take a minute to synthesise.
    exec(code.replace('preset="smoke"', f'preset="smoke", data={str(embedded_data)!r}'), values)
    assert values["scores"].failures == {}
    assert set(values["scores"].table["model"]) == ({"teacher", "small"} if index == 0 else {"mine", "fbank"})
