"""``bench cache``: shows what the cache folder holds, and removes features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bench.errors import UserError
from bench.terminal import options

if TYPE_CHECKING:
    from tasks.feature_cache.room import Holding


class NotRemovedError(UserError):
    """Some features could not be removed."""

    exit_code = 1


cache = typer.Typer(help="Show what the cache folder holds, and remove features.")


@cache.callback(invoke_without_command=True)
def show(
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove features, and what belongs to corpora that are gone; the rest is kept."),
    ] = False,
    keep: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="SIZE", help="With --prune: keep this much of the last used, e.g. 10GB [default: 0]."),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Show the features of every upstream, least recently used first, embedded corpora, units, and indexes of corpora.

    It is safe to remove features that a running process uses.
    """
    from bench.cache_folder import cache_root
    from bench.sizes import parse_size, size_text
    from tasks.feature_cache import room

    if keep is not None and not prune:
        raise UserError("--keep sets how much --prune leaves. Add --prune, or leave --keep out.")
    root = room.features_root()
    rows = {holding.folder: _row(holding) for holding in room.holdings(root)}
    keep_bytes = 0 if keep is None else parse_size(keep, "--keep")
    if prune:
        room.prune(root, keep_bytes)
    left = {holding.folder: holding.num_bytes for holding in room.holdings(root)}
    removed = [row for folder, row in rows.items() if folder not in left]
    if prune:
        removed += _prune_indexes() + _prune_cut_audio()
    kept = [row for folder, row in rows.items() if folder in left] + _corpora() + _units() + _indexes() + _cut_audio()
    total = sum(row["size_bytes"] for row in kept)
    if json:
        from bench.terminal.printing import print_json

        print_json({"folder": str(cache_root()), "kept": kept, "removed": removed, "total_bytes": total})
    else:
        if removed:
            _print_table(f"Removed from {root}", removed)
        _print_table(f"{cache_root()}: {size_text(total)}", kept)
    stuck = [folder for folder in rows if left.get(folder)]
    if prune and stuck and sum(left.values()) > keep_bytes:
        raise NotRemovedError(
            f"Could not remove {len(stuck)} of {len(rows)} folders of features, such as {stuck[0]}. Ask its owner, "
            f"{_owner(stuck[0])}, to remove it or to allow you to (chmod -R g+w)."
        )
    return 0


def _owner(folder: Path) -> str:
    try:
        return f"user {folder.owner()}"
    except KeyError:
        # A user of another machine, or a removed one.
        return f"user {folder.stat().st_uid}"


def _row(holding: Holding) -> dict[str, Any]:
    from tasks.feature_cache.store import count_tensors

    about = holding.about
    return {
        "what": about.get("model") or about.get("weights_hash", "")[:12] or "unknown",
        "kind": about.get("features", "unknown"),
        "utterances": count_tensors(holding.folder),
        "size_bytes": holding.num_bytes,
        "last_used": _day(holding.last_used_s),
        "folder": str(holding.folder),
    }


def _corpora() -> list[dict[str, Any]]:
    """List the embedded corpora in the cache folder."""
    from bench.cache_folder import cache_root
    from tasks.feature_cache.room import folder_bytes

    return [
        {
            "what": f"{folder.parent.name}-{folder.name}",
            "kind": "corpora",
            "utterances": None,
            "size_bytes": folder_bytes(folder),
            "last_used": _day(folder.stat().st_mtime),
            "folder": str(folder),
        }
        for folder in sorted(cache_root().glob("mini/*"))
        if folder.is_dir()
    ]


def _units() -> list[dict[str, Any]]:
    """List the teachers' units that compressors have made, named by the hash of the teacher's weights."""
    import json

    from bench.cache_folder import units_root
    from bench.store.claims import IDENTITY_NAME
    from tasks.feature_cache.room import folder_bytes

    rows = []
    for about in sorted(units_root().glob(f"*/{IDENTITY_NAME}")):
        identity = json.loads(about.read_text(encoding="utf-8"))
        rows.append(
            {
                "what": f"{identity['teacher'][:12]}, {identity['num_clusters']} clusters of layer {identity['layer']}",
                "kind": "units",
                "utterances": None,
                "size_bytes": folder_bytes(about.parent),
                "last_used": _day(about.stat().st_mtime),
                "folder": str(about.parent),
            }
        )
    return rows


def _indexes() -> list[dict[str, Any]]:
    """List the indexes of corpora, see `bench.audio.index`."""
    from bench.audio.index import indexes

    return [
        {
            "what": str(index.root or "damaged"),
            "kind": "index",
            "utterances": index.num_files,
            "size_bytes": index.file.stat().st_size,
            "last_used": _day(index.file.stat().st_mtime),
            "folder": str(index.file),
        }
        for index in indexes()
    ]


def _prune_indexes() -> list[dict[str, Any]]:
    """Remove damaged indexes, and those of corpora that are gone. Others take hours to make on a slow disk.

    Returns:
        Their rows.
    """
    from bench.audio.index import remove

    gone = [row for row in _indexes() if not Path(row["what"]).is_dir()]
    for row in gone:
        remove(Path(row["folder"]))
    return gone


def _cut_audio() -> list[dict[str, Any]]:
    """List the audio that was written for users' lists of utterances, see `bench.audio.listings.cutting`."""
    from bench.audio.listings.cutting import cut_root, source_of
    from bench.audio.search import audio_below
    from tasks.feature_cache.room import folder_bytes

    rows = [
        {
            "what": str(source_of(folder) or "damaged"),
            "kind": "cut audio",
            "utterances": len(audio_below(folder)),
            "size_bytes": folder_bytes(folder),
            "last_used": _day(folder.stat().st_mtime),
            "folder": str(folder),
        }
        for folder in cut_root().glob("*")
        if folder.is_dir()
    ]
    return sorted(rows, key=lambda row: str(row["what"]))


def _prune_cut_audio() -> list[dict[str, Any]]:
    """Remove the audio of lists that are gone.

    Returns:
        Their rows.
    """
    from bench.files.atomic import remove_folder

    gone = [row for row in _cut_audio() if not Path(row["what"]).exists()]
    for row in gone:
        remove_folder(Path(row["folder"]))
    return gone


def _day(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    from bench.sizes import size_text
    from bench.terminal.printing import print_rows
    from bench.terminal.streams import print_line

    print_line(title)
    columns = {"what": "what", "kind": "kind", "last_used": "last used", "utterances": "utterances"}
    print_rows(
        [{title: row[key] for key, title in columns.items()} | {"size": size_text(row["size_bytes"])} for row in rows]
    )
