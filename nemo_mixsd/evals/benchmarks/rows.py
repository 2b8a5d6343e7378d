"""The data of a benchmark as rows: from a local file in the public schema, or from the hub."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_mixsd.errors import BenchmarkError, CorpusError, shown

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv")
"""File kinds that are read, in the order in which a folder is searched."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """A dataset of the hub: its name, its configuration (None for the only one) and its split."""

    dataset: str
    split: str
    subset: str | None = None

    def __str__(self) -> str:
        return self.dataset + (f" ({self.subset})" if self.subset else "") + f", split {self.split}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source.

    Attributes:
        where: The place that errors name, ``file:line`` where there is a file.
        number: From 1.
        values: Column names with what the source holds for them.
    """

    where: str
    number: int
    values: Mapping[str, Any]

    def get(self, name: str, kind: type | tuple[type, ...] = str) -> Any:
        """The value of a column.

        Raises:
            BenchmarkError: There is no such column, or its value is no ``kind``.
        """
        if name not in self.values:
            raise BenchmarkError(
                f"{self.where}: no field {name!r}; it has {', '.join(self.values)}. The file must have the fields of "
                "the published data set"
            )
        value = self.values[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BenchmarkError(f"{self.where}: {name!r} is {shown(value)}, a {type(value).__name__}")
        return value

    def first(self, *names: str, kind: type | tuple[type, ...] = str) -> Any:
        """The value of the first of these columns that is there; errors as for ``get``."""
        return self.get(next((n for n in names if n in self.values), names[0]), kind)


def read_rows(name: str, path: Path | None, hub: HubSource, stems: Sequence[str]) -> Iterator[Row]:
    """Rows of a benchmark.

    Args:
        name: The benchmark, for errors.
        path: A file, or a folder that holds one; None reads the hub.
        hub: Where the data is on the hub.
        stems: File names without ending, for a folder.

    Raises:
        BenchmarkError: Nothing is there, or it cannot be read; the text says what would be.
    """
    if path is None:
        yield from _hub_rows(name, hub)
        return
    file = find_file(name, path, stems)
    if file.name.endswith(".parquet"):
        yield from _parquet_rows(file)
    elif file.name.endswith(".csv"):
        for number, values in enumerate(csv.DictReader(io.StringIO(_text(file))), start=1):
            yield Row(f"{file}: record {number}", number, values)
    elif file.name.endswith(".json"):
        yield from _json_rows(file)
    else:
        yield from _line_rows(file)


def find_file(name: str, path: Path, stems: Sequence[str]) -> Path:
    """``path`` itself, or the file of the benchmark in the folder ``path``.

    Raises:
        BenchmarkError: There is none.
    """
    if path.is_file():
        if not path.name.endswith(ENDINGS):
            raise BenchmarkError(f"{path}: {name} is read from {', '.join(ENDINGS)} files")
        return path
    candidates = [path / (stem + ending) for stem in stems for ending in ENDINGS]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    what = "has no file of it" if path.is_dir() else "is not there"
    raise BenchmarkError(
        f"benchmark {name}: {path} {what}; looked for {', '.join(stems)} with the endings {', '.join(ENDINGS)}. Set "
        f"evals.benchmark.{name}.path to a file in the published schema, or leave it out to read the hub"
    )


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
        return (gzip.decompress(data) if file.name.endswith(".gz") else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{file}: cannot be read ({error}); check that the download is complete") from error


def _line_rows(file: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(file).split("\n"), start=1):  # splitlines() would cut at U+2028 in a problem
        if line.strip():
            yield _row(f"{file}:{number}", number, line)


def _json_rows(file: Path) -> Iterator[Row]:
    try:
        values = json.loads(_text(file))
    except ValueError as error:
        raise BenchmarkError(f"{file}: not JSON ({error})") from error
    if not isinstance(values, list):
        raise BenchmarkError(f"{file}: a JSON file must hold a list of problems, not {type(values).__name__}")
    for number, value in enumerate(values, start=1):
        yield _checked(f"{file}: record {number}", number, value)


def _row(where: str, number: int, line: str) -> Row:
    try:
        return _checked(where, number, json.loads(line))
    except ValueError as error:
        if isinstance(error, BenchmarkError):
            raise
        raise BenchmarkError(f"{where}: not JSON ({error}): {shown(line)}") from error


def _checked(where: str, number: int, value: object) -> Row:
    if not isinstance(value, dict):
        raise BenchmarkError(f"{where}: {shown(value)} is no JSON object")
    return Row(where, number, value)


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise BenchmarkError(f"{file}: cannot be read as Parquet ({error})") from error
    for number, values in enumerate(rows, start=1):
        yield Row(f"{file}: row {number}", number, values)


def _hub_rows(name: str, hub: HubSource) -> Iterator[Row]:
    from nemo_mixsd.corpora.sources import HubName, load_hub

    try:
        dataset = load_hub(HubName(hub.dataset, hub.subset, hub.split))
    except CorpusError as error:
        cause = error.__cause__
        raise BenchmarkError(
            f"benchmark {name}: {hub} cannot be had from the hub ({type(cause).__name__}: {shown(str(cause))}). "
            f"Download it where there is a network (hf download {hub.dataset} --repo-type dataset --local-dir DIR) "
            f"and set evals.benchmark.{name}.path to the file in it, or evals.benchmarks_path to a folder of such files"
        ) from error
    for number, values in enumerate(dataset, start=1):
        yield Row(f"{hub.dataset}: row {number}", number, values)
