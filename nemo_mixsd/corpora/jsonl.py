"""The user's own questions and answers: one JSON object a line (docs/corpora/your-own.md)."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from nemo_mixsd.corpora.base import CorpusConfig
from nemo_mixsd.corpora.columns import Row, kind
from nemo_mixsd.corpora.rowset import RowCorpus
from nemo_mixsd.errors import CorpusError, shown


class JsonlConfig(CorpusConfig):
    """A JSONL file with a ``question`` and an ``answer`` on each line."""

    name: Literal["jsonl"] = "jsonl"
    """This corpus."""
    path: str
    """The file, UTF-8, one JSON object a line."""
    limit: int | None = Field(default=None, ge=1)
    """Train on at most so many lines, a random subset in file order; null for all. A smaller limit with the same
    seed takes a subset of what a larger one takes."""
    seed: int = 0
    """Chooses the subset of ``limit``."""


class JsonlCorpus(RowCorpus[JsonlConfig]):
    """Splits ``train``; ``paraphrase`` where a line has ``paraphrases``; and those that the field ``split`` names."""

    config_type = JsonlConfig
    key = "jsonl"

    def rows(self) -> Iterator[Row]:
        """The lines of the file; blank lines are skipped, yet counted in line numbers."""
        return read_json_lines(Path(self.config.path))

    def source(self) -> str:
        """The path."""
        return self.config.path

    def limit_and_seed(self) -> tuple[int | None, int]:
        """``corpus.limit`` and ``corpus.seed``."""
        return self.config.limit, self.config.seed


def read_json_lines(path: Path) -> Iterator[Row]:
    """Stream the objects of a JSONL file as rows.

    Raises:
        CorpusError: The file cannot be read, or a line is not UTF-8, not JSON or not an object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = json.loads(line, object_pairs_hook=_object_without_repeats)
        except (ValueError, RecursionError) as error:
            start = line.lstrip()[:1]
            remedy = (
                "the file looks like one JSON array: write one object a line (jq -c '.[]' converts it)"
                if start == "[" and number == 1
                else 'write one JSON object a line, like {"question": "...", "answer": "..."}'
            )
            raise CorpusError(f"{where}: not JSON ({error}): {shown(line.strip())}; {remedy}") from error
        if not isinstance(value, dict):
            raise CorpusError(
                f'{where}: {shown(value)} is {kind(value)}, not an object; write {{"question": "...", "answer": "..."}}'
            )
        yield Row(where, number, value)


def read_lines(path: Path, *, keep_ends: bool = False) -> Iterator[tuple[int, str]]:
    """Stream the lines of a UTF-8 file with their 1-based numbers; a byte-order mark and CRLF are tolerated.

    Args:
        path: The file.
        keep_ends: Leave the line ends on, for formats whose fields may hold them.

    Raises:
        CorpusError: The file cannot be read or is not UTF-8; the text names file and line.
    """
    try:
        with path.open("rb") as handle:
            for number, raw in enumerate(handle, start=1):
                data = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                try:
                    line = data.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(
                        f"{path}:{number}: byte {data[error.start]:#04x} at column {error.start + 1} is not UTF-8; "
                        "save the file as UTF-8 (iconv -f FROM -t UTF-8 converts it)"
                    ) from error
                yield number, line if keep_ends else line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: no such file; check the key 'path' of the corpus section") from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}; give a readable file") from error


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} stands twice in one object")
    return out
