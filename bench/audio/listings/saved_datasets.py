"""Hugging Face data sets on disk, as ``Dataset.save_to_disk`` of the package datasets writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.audio.listings.cutting import announce, cut_folder, digest_of_files, write_bytes
from bench.audio.listings.listing import Listing, as_text, table_of
from bench.audio.search import AUDIO_SUFFIXES
from bench.errors import UserError
from bench.text import shortened

FILES = ("state.json", "dataset_info.json")
_ROWS = 1_000
"""Rows in memory at once."""


def read_saved_dataset(folder: Path) -> Listing:
    """Read a data set with one column of audio.

    Text, numbers, labels (by their names) and lists of them become columns of text. The default of ``id`` is the number
    of the row. Audio inside the data set is written to the cache as it is, without decoding.

    Raises:
        UserError: the package datasets is not installed; the data set is damaged, or has no column of audio or several.
    """
    with _readable(folder):
        dataset = _loaded(folder)
        audio = _audio_column(dataset, folder)
        texts = {
            name: text for name, feature in dataset.features.items() if name != "path" and (text := _texts(feature))
        }
        rows = (
            [{name: text(batch[name]) for name, text in texts.items()} for batch in _rows(dataset, list(texts))]
            if texts
            else [{} for _ in range(len(dataset))]
        )
    for number, row in enumerate(rows):
        row.setdefault("id", f"{folder.name}-{number:08d}")
    return Listing(table_of(rows), lambda: _audio(dataset, audio, folder))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turn the errors of datasets and pyarrow about a damaged data set into one line."""
    try:
        yield
    # What datasets raises for files that it did not write is not documented. pyarrow's errors are of these kinds.
    except (ValueError, OSError, LookupError, TypeError, AttributeError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"Expected a data set in {shortened(str(folder), 120)} that datasets can load. Found: "
            f"{shortened(' '.join(str(error).split()), 120)}. Save it again with save_to_disk."
        ) from error


def _loaded(folder: Path) -> Any:
    try:
        from datasets import Dataset
    except ImportError as error:
        raise UserError(
            f"Expected the package datasets, to read {shortened(str(folder), 120)}. It is not installed. Install it: "
            "pip install 'superb-bench[data]'."
        ) from error
    return Dataset.load_from_disk(str(folder))


def _audio_column(dataset: Any, folder: Path) -> str:
    from datasets import Audio

    found = [name for name, feature in dataset.features.items() if isinstance(feature, Audio)]
    if len(found) != 1:
        raise UserError(
            f"Expected one column of audio in {shortened(str(folder), 120)}. Found "
            f"{' and '.join(shortened(name, 30) for name in found[:3]) or 'none'}. Keep one, of the type Audio of "
            "datasets (cast_column, remove_columns)."
        )
    return str(found[0])


def _texts(feature: Any) -> Callable[[Any], str] | None:
    """Return how the values of a column become text. None for columns that do not."""
    from datasets import ClassLabel, List, Value

    if isinstance(feature, ClassLabel):
        return lambda value: "" if value is None else str(feature.int2str(value))
    if isinstance(feature, List) and (item := _texts(feature.feature)):
        return lambda values: " ".join(item(value) for value in values or ())
    is_plain = isinstance(feature, Value) and feature.dtype.startswith(
        ("string", "large_string", "int", "uint", "float", "bool")
    )
    return as_text if is_plain else None


def _rows(dataset: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in _batches(dataset.select_columns(columns)):
        yield from batch.to_pylist()


def _batches(dataset: Any) -> Iterator[Any]:
    """Yield tables of pyarrow. No audio is decoded."""
    for batch in dataset.with_format("arrow").iter(batch_size=_ROWS):
        batch.validate(full=True)
        yield batch


def _audio(dataset: Any, column: str, folder: Path) -> list[str]:
    with _readable(folder):
        state = digest_of_files([Path(file["filename"]) for file in dataset.cache_files])
        paths: list[Path] = []
        missing: dict[int, int] = {}
        for batch in _batches(dataset.select_columns([column])):
            for value in _sizes(batch.column(column)):
                path, num_bytes = _place(value, f"{state}-{len(paths):08d}", folder, len(paths))
                if num_bytes and not path.exists():
                    missing[len(paths)] = num_bytes
                paths.append(path)
        announce(folder, len(missing), sum(missing.values()))
        for number in missing:
            write_bytes(paths[number], dataset.with_format("arrow")[number].column(column)[0]["bytes"].as_py())
    return [str(path) for path in paths]


def _sizes(column: Any) -> Iterator[tuple[str, int]]:
    """Yield the name of each row's audio, and the number of bytes that the data set itself holds."""
    import pyarrow.compute as pc

    names = pc.struct_field(column, "path").to_pylist()
    sizes = pc.binary_length(pc.struct_field(column, "bytes")).to_pylist()
    yield from ((name or "", size or 0) for name, size in zip(names, sizes, strict=True))


def _place(value: tuple[str, int], name: str, folder: Path, row: int) -> tuple[Path, int]:
    path, num_bytes = value
    if num_bytes:
        suffix = Path(path).suffix.lower()
        return cut_folder(folder) / f"{name}{suffix if suffix in AUDIO_SUFFIXES else '.wav'}", num_bytes
    if not path:
        raise UserError(
            f"Expected audio in every row of {shortened(str(folder), 120)}. Found none in row {row}. Remove it."
        )
    return folder / path, 0
