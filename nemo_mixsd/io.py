"""Files: nothing is written in place. A file is written beside its name, synced and renamed, or it is not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from nemo_mixsd.errors import StorageError
from nemo_mixsd.types import from_record, to_record

R = TypeVar("R")


@contextmanager
def atomic_writer(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of ``path`` when the block ends without an error.

    Raises:
        StorageError: Writing, syncing or renaming failed. ``path`` is as it was; no temporary file is left.
    """
    path = Path(path)
    temp: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding = None if "b" in mode else "utf-8"
        newline = None if "b" in mode else "\n"
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temp = Path(name)
        with os.fdopen(fd, mode, encoding=encoding, newline=newline) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temp, 0o644)
        os.replace(temp, path)
        temp = None
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another run_dir, then start the "
            "same command again: it goes on from what is complete"
        ) from error
    finally:
        if temp is not None:
            temp.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a rename in ``directory`` durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_directory(written: Path, place: Path) -> None:
    """Sync the files of ``written`` and let it take the place of ``place``, which may hold something older."""
    for file in written.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(place, ignore_errors=True)
    os.replace(written, place)
    sync_directory(place.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8 with Unix newlines."""
    with atomic_writer(path) as handle:
        handle.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def dump_line(value: Any) -> str:
    """One JSON line, without the newline: fixed separators, so that equal records are equal bytes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


def write_jsonl(path: Path, records: Iterable[Any]) -> int:
    """Write records (dataclasses or mappings) to ``path`` atomically; return how many."""
    count = 0
    with atomic_writer(path) as handle:
        for record in records:
            handle.write(dump_line(record if isinstance(record, dict) else to_record(record)) + "\n")
            count += 1
    return count


def read_jsonl(path: Path, cls: type[R]) -> Iterator[R]:
    """Read records of ``cls`` that this package wrote.

    Raises:
        ValueError: A line is not JSON or not such a record; the text names file and line.
    """
    with Path(path).open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                yield from_record(cls, json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}:{number}: {error}") from error
