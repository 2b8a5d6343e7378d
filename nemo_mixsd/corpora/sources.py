"""Where tables come from: CSV, Parquet and the Hugging Face hub, each as a stream of rows under their column names."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_mixsd.corpora.columns import Row, hint
from nemo_mixsd.corpora.jsonl import read_lines
from nemo_mixsd.errors import CorpusError


@dataclass(frozen=True, slots=True)
class HubName:
    """A dataset of the hub, or a local folder that ``datasets`` reads.

    Attributes:
        dataset: Its name, ``owner/name``, or the folder.
        subset: Its configuration; None for the only or default one.
        split: Its split.
    """

    dataset: str
    subset: str | None
    split: str

    def __str__(self) -> str:
        subset = f", subset {self.subset!r}" if self.subset else ""
        return f"dataset {self.dataset!r}{subset}, split {self.split!r}"


def require_columns(source: str, present: Sequence[str], wanted: Iterable[tuple[str, str]]) -> None:
    """Check that every wanted column is there.

    Args:
        source: The source as errors name it.
        present: The columns that it has.
        wanted: Pairs of column and the field that is read from it.

    Raises:
        CorpusError: One is missing; the text names the nearest and lists all.
    """
    for column, field in wanted:
        if column not in present:
            raise CorpusError(
                f"{source}: no column {column!r} for the field {field!r}; {hint(column, present)}"
                f"It has {', '.join(present) or 'none'}"
            )


def read_csv(path: Path, delimiter: str, quotechar: str, wanted: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Stream a CSV file whose first line names the columns. Fields may hold line ends within quotes.

    Args:
        path: The file, UTF-8.
        delimiter: One character between fields.
        quotechar: One character around fields.
        wanted: As for ``require_columns``.

    Raises:
        CorpusError: The file cannot be read, a column is missing, or a line has more or fewer fields than the header.
    """
    lines = (line for _, line in read_lines(path, keep_ends=True))
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quotechar, strict=True)
    header: list[str] | None = None
    last = 0
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise CorpusError(
                f"{path}:{last + 1}: the record that starts here is no CSV ({error}); check its quotes, the key "
                f"'delimiter' ({delimiter!r}), and that the file is complete"
            ) from error
        if record is None:
            break
        start, last = last + 1, reader.line_num
        if not record:
            continue
        if header is None:
            header = record
            _check_header(path, header, wanted)
            continue
        if len(record) != len(header):
            raise CorpusError(
                f"{path}:{start}: {len(record)} fields where the header has {len(header)}; quote fields that hold "
                f"{delimiter!r}, or set the key 'delimiter'"
            )
        yield Row(f"{path}:{start}", start, dict(zip(header, record, strict=True)))
    if header is None:
        raise CorpusError(f"{path}: the file is empty; its first line must name the columns")


def _check_header(path: Path, header: list[str], wanted: Sequence[tuple[str, str]]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise CorpusError(f"{path}:1: two columns are named {twice[0]!r}; rename one of them")
    require_columns(f"{path}:1", header, wanted)


def read_parquet(path: Path, wanted: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Stream a Parquet file, only the wanted columns; rows are numbered from 1.

    Raises:
        CorpusError: The file cannot be read or is no Parquet, or a column is missing.
    """
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise CorpusError(f"{path}: no such file; check the key 'path' of the corpus section")
    try:
        file = parquet.ParquetFile(path)
        require_columns(str(path), file.schema_arrow.names, wanted)
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=sorted({column for column, _ in wanted})):
            for values in batch.to_pylist():
                number += 1
                yield Row(f"{path}: row {number}", number, values)
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError(
            f"{path}: cannot be read as Parquet ({_first_line(error)}); check that the download is complete"
        ) from error


def load_hub(name: HubName) -> Any:
    """The dataset as a ``datasets.Dataset``, from the local cache where it is there.

    Raises:
        CorpusError: The hub cannot be reached, or has no such dataset, subset or split.
    """
    import datasets

    try:
        return datasets.load_dataset(name.dataset, name.subset, split=name.split)
    except (datasets.exceptions.DatasetNotFoundError, ValueError) as error:
        raise CorpusError(
            f"{name}: not to be had ({_first_line(error)}); check the keys 'dataset', 'subset' and 'hub_split', and "
            "log in (hf auth login) if the dataset is gated"
        ) from error
    except (datasets.exceptions.DatasetsError, OSError) as error:
        raise CorpusError(
            f"{name}: the hub cannot be reached ({_first_line(error)}). On a machine with network run "
            f"'hf download {name.dataset} --repo-type dataset --local-dir DIR', copy DIR here and set the key 'path' "
            "to the file in it; or copy that machine's HF_HOME cache and set HF_HOME to the copy"
        ) from error


def hub_rows(name: HubName, dataset: Any, wanted: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Stream the rows of a loaded dataset, numbered from 1.

    Raises:
        CorpusError: A column is missing.
    """
    require_columns(str(name), list(dataset.column_names), wanted)
    picked = dataset.select_columns(sorted({column for column, _ in wanted}))
    for number, values in enumerate(picked, start=1):
        yield Row(f"{name}: row {number}", number, values)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
