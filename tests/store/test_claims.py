"""Folders of unfinished work: the same work goes on in them, other work is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.store.claims import IDENTITY_NAME, claim_folder


def test_the_same_work_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        claim_folder(tmp_path / "work", {"seed": 0, "layers": (1, 2)})


@pytest.mark.parametrize("other", [{"seed": 1, "teacher": "a"}, {"seed": 0}, {"seed": 0, "teacher": "a", "audio": "b"}])
def test_other_work_is_refused_and_what_differs_named(tmp_path: Path, other: dict[str, object]) -> None:
    own: dict[str, object] = {"seed": 0, "teacher": "a"}
    claim_folder(tmp_path, own)
    different = sorted(key for key in {*own, *other} if own.get(key) != other.get(key))
    with pytest.raises(UserError, match=rf"Found another: {', '.join(different)} differ\."):
        claim_folder(tmp_path, other)
    claim_folder(tmp_path, own)


def test_a_broken_identity_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / IDENTITY_NAME).write_text("{")
    with pytest.raises(UserError, match=rf"^Expected the identity of the work in .*{IDENTITY_NAME}. Found no JSON"):
        claim_folder(tmp_path, {})
