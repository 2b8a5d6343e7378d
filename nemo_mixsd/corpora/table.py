"""Any table of questions and answers (CSV, JSONL, Parquet, hub dataset), with its columns named in the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from nemo_mixsd.corpora.base import CorpusConfig
from nemo_mixsd.corpora.columns import Row
from nemo_mixsd.corpora.jsonl import read_json_lines
from nemo_mixsd.corpora.rowset import RowCorpus
from nemo_mixsd.corpora.sources import HubName, hub_rows, load_hub, read_csv, read_parquet, require_columns

FieldName = Literal[
    "question", "answer", "id", "context", "target", "subject", "answer_type", "aliases", "paraphrases", "split"
]
TableFormat = Literal["csv", "jsonl", "parquet"]

_BY_SUFFIX: Mapping[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


class TableConfig(CorpusConfig):
    """A table: a file (``path``) or a dataset of the Hugging Face hub (``dataset``)."""

    name: Literal["table"] = "table"
    """This corpus."""
    path: str | None = None
    """A CSV, TSV, JSONL or Parquet file."""
    dataset: str | None = None
    """A dataset of the hub (``owner/name``), or a folder that the ``datasets`` library reads."""
    subset: str | None = None
    """The configuration of ``dataset``, where it has several."""
    hub_split: str = "train"
    """The split of ``dataset`` that is read."""
    format: Literal["auto", "csv", "jsonl", "parquet"] = "auto"
    """The format of ``path``; ``auto`` goes by the suffix."""
    columns: dict[FieldName, str] = Field(default_factory=dict)
    """Which column holds which field, ``field: column``. ``question`` and ``answer`` default to columns of those
    names; the other fields are read only where they are listed. Columns not listed are ignored."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Between the fields of a CSV file; null for a comma, or a tab where the suffix is ``.tsv``."""
    quotechar: str = Field(default='"', min_length=1, max_length=1)
    """Around the fields of a CSV file."""
    list_separator: str = Field(default="|", min_length=1)
    """Splits a text into the items of ``aliases`` and ``paraphrases`` where the column holds no lists."""
    limit: int | None = Field(default=None, ge=1)
    """Train on at most so many rows, a random subset in table order; null for all."""
    seed: int = 0
    """Chooses the subset of ``limit``."""

    @model_validator(mode="after")
    def _one_source(self) -> TableConfig:
        if (self.path is None) == (self.dataset is None):
            given = "neither is" if self.path is None else f"both are ({self.path!r}, {self.dataset!r})"
            raise ValueError(f"exactly one of 'path' and 'dataset' must be set, {given}")
        if self.path is not None and self.format == "auto" and Path(self.path).suffix.lower() not in _BY_SUFFIX:
            raise ValueError(
                f"path {self.path!r} has none of the suffixes {', '.join(_BY_SUFFIX)}; set 'format' to csv, jsonl or "
                "parquet"
            )
        return self

    def mapping(self) -> dict[FieldName, str]:
        """Field to column, with the defaults filled in."""
        return {"question": "question", "answer": "answer", **self.columns}


class TableCorpus(RowCorpus[TableConfig]):
    """Splits as for ``jsonl``: ``train``, ``paraphrase``, and those of a ``split`` column."""

    config_type = TableConfig
    key = "table"
    _dataset: Any = None

    def rows(self) -> Iterator[Row]:
        """The rows of the table under our field names."""
        mapping = self.config.mapping()
        wanted = [(column, field) for field, column in mapping.items()]
        for row in self._raw_rows(wanted):
            values: dict[str, object] = {
                field: self._cell(field, row.values[column]) for field, column in mapping.items()
            }
            yield Row(row.where, row.number, values)

    def source(self) -> str:
        """The path, or the name of the dataset."""
        return self.config.path or str(self._hub_name())

    def limit_and_seed(self) -> tuple[int | None, int]:
        """``corpus.limit`` and ``corpus.seed``."""
        return self.config.limit, self.config.seed

    def _hub_name(self) -> HubName:
        return HubName(self.config.dataset or "", self.config.subset, self.config.hub_split)

    def _raw_rows(self, wanted: Sequence[tuple[str, str]]) -> Iterator[Row]:
        config = self.config
        if config.path is None:
            if self._dataset is None:
                self._dataset = load_hub(self._hub_name())
            return hub_rows(self._hub_name(), self._dataset, wanted)
        path = Path(config.path)
        kind = _BY_SUFFIX[path.suffix.lower()] if config.format == "auto" else config.format
        if kind == "csv":
            default = "\t" if path.suffix.lower() == ".tsv" else ","
            return read_csv(path, config.delimiter or default, config.quotechar, wanted)
        return read_parquet(path, wanted) if kind == "parquet" else _json_rows(path, wanted)

    def _cell(self, field: FieldName, value: object) -> object:
        """What a cell means: in tables an empty optional cell is an absent one, and numbers stand for their digits."""
        if isinstance(value, str):
            if field not in ("question", "answer") and not value.strip():
                return None
            if field in ("aliases", "paraphrases"):
                return [item.strip() for item in value.split(self.config.list_separator) if item.strip()]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return value


def _json_rows(path: Path, wanted: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Rows of a JSONL table: the question and the answer must be on each line, other columns may be left out."""
    seen: dict[str, None] = {}
    for row in read_json_lines(path):
        seen.update(dict.fromkeys(row.values))
        needed = [(column, field) for column, field in wanted if field in ("question", "answer")]
        require_columns(row.where, list(row.values), needed)
        yield Row(row.where, row.number, {column: row.values.get(column) for column, _ in wanted})
    if seen:  # a column that no line has is a misspelt one
        require_columns(str(path), list(seen), wanted)
