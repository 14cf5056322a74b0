"""What people call the splits of a corpus."""

from __future__ import annotations

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def standard_split(name: str) -> str | None:
    """Return ``train``, ``dev`` or ``test`` for one of its usual names. None for other names."""
    return _SPLITS.get(name.strip().casefold())
