"""A run's folder while other processes work in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.files.atomic import replacing
from bench.store.run_folder import RunFolder


def test_a_folder_whose_configuration_is_being_written_is_no_other_thing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "work").mkdir()
    with replacing(folder.config_path) as temporary:
        temporary.write_text("half of it")
        assert folder.read_config() is None
    (tmp_path / "thesis.tex").touch()
    folder.config_path.unlink()
    with pytest.raises(UserError, match=str(tmp_path)):
        folder.read_config()
