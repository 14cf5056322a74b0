"""File systems whose locks do not reach other machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.store import mounts
from bench.store.mounts import mount_of, require_shared_locks

TABLE = r"""
22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:22 / /home rw,noatime - nfs4 server:/home rw,vers=4.2,local_lock=none
24 22 0:23 / /old rw - nfs server:/old rw,vers=3,nolock,local_lock=all
25 22 0:24 / /scratch rw,flock - lustre mgs:/a rw,flock,lazystatfs
26 25 0:25 / /scratch/one\040node rw - lustre mgs:/b rw,localflock
27 22 0:26 / /hidden rw - lustre mgs:/c rw,localflock
28 27 0:27 / /hidden rw - ext4 /dev/vdb rw
short line
"""


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    monkeypatch.setattr(mounts, "MOUNTS", path)


@pytest.mark.parametrize("folder", ["/home/a", "/scratch/a", "/var", "/oldest", "/hidden/a"])
def test_locks_that_reach_all_machines_are_accepted(folder: str) -> None:
    require_shared_locks(Path(folder), "Go elsewhere.")


@pytest.mark.parametrize(
    ("folder", "named"),
    [("/old/a/b", "nfs mounted at /old with local_lock=all"), ("/scratch/one node/a", "localflock")],
)
def test_locks_of_one_machine_are_refused(folder: str, named: str) -> None:
    with pytest.raises(UserError) as refused:
        require_shared_locks(Path(folder), "Go elsewhere.")
    assert named in str(refused.value)
    assert "Go elsewhere." in str(refused.value)


def test_a_system_without_the_table_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "absent")
    assert mount_of(tmp_path) is None
    require_shared_locks(tmp_path, "")
