"""Files that are either whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.files.atomic import remove_folder, replacing


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first, and longer")
        second.write_text("second")
    assert path.read_text() == "first, and longer"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as draft:
        draft.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_removed_is_gone_at_once_whenever_a_kill_comes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("")
    path = tmp_path / "path"
    if kind == "folder":
        path.mkdir()
        monkeypatch.setattr("shutil.rmtree", killed)
    elif kind == "file":
        path.write_text("")
    else:
        path.symlink_to(other)
    if kind == "folder":
        with pytest.raises(KeyboardInterrupt):
            remove_folder(path)
    else:
        remove_folder(path)
    assert not path.exists()
    assert not path.is_symlink()
    assert (other / "kept").is_file()
