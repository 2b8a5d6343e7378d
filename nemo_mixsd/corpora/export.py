"""Writing a corpus to files: our own schema, and chat messages that other trainers read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_mixsd.corpora.base import Corpus
from nemo_mixsd.errors import RunDirectoryError
from nemo_mixsd.io import write_json, write_jsonl
from nemo_mixsd.types import Example

MANIFEST = "corpus.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was written, the content of ``corpus.json``.

    Attributes:
        name: The corpus.
        config: Its configuration, all keys.
        splits: Split to number of examples.
        files: File name to SHA-256 of its bytes, in hexadecimal.
    """

    name: str
    config: dict[str, Any]
    splits: dict[str, int]
    files: dict[str, str]


def build_corpus(corpus: Corpus[Any], out: Path) -> Manifest:
    """Write every split of ``corpus`` into the folder ``out``.

    ``<split>.jsonl`` holds examples with the fields of ``Example``, and the corpus ``jsonl`` reads it back;
    ``<split>.messages.jsonl`` holds a user message (the question) and an assistant message (the target) a line, under
    the key ``messages``. ``corpus.json`` is written last: where it is, the files are complete. The same configuration
    gives the same bytes.

    Raises:
        CorpusError: The corpus cannot be read.
        RunDirectoryError: ``out`` holds JSONL files that this corpus does not write.
        StorageError: A file cannot be written.
    """
    splits = corpus.split_names()
    names = {name for split in splits for name in (f"{split}.jsonl", f"{split}.messages.jsonl")}
    _refuse_strangers(out, names)
    (out / MANIFEST).unlink(missing_ok=True)
    counts: dict[str, int] = {}
    files: dict[str, str] = {}
    for split in splits:
        plain, chat = out / f"{split}.jsonl", out / f"{split}.messages.jsonl"
        counts[split] = write_jsonl(plain, corpus.iter_split(split))
        write_jsonl(chat, map(to_messages, corpus.iter_split(split)))
        files.update({path.name: sha256(path) for path in (plain, chat)})
    manifest = Manifest(corpus.config.name, corpus.config.model_dump(mode="json"), counts, files)
    write_json(
        out / MANIFEST,
        {"name": manifest.name, "config": manifest.config, "splits": manifest.splits, "files": manifest.files},
    )
    return manifest


def to_messages(example: Example) -> dict[str, list[dict[str, str]]]:
    """``example`` as one chat: its question from the user, its target from the assistant."""
    return {
        "messages": [
            {"role": "user", "content": example.question},
            {"role": "assistant", "content": example.target},
        ]
    }


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _refuse_strangers(out: Path, names: set[str]) -> None:
    """A split left over from another build would be read as part of this one."""
    for path in _jsonl_files(out):
        if path.name not in names:
            raise RunDirectoryError(
                f"{out} holds {path.name}, which this corpus does not write; give an empty folder or remove the file"
            )


def _jsonl_files(out: Path) -> Iterator[Path]:
    if out.exists() and not out.is_dir():
        raise RunDirectoryError(f"{out} is a file; give a folder")
    yield from sorted(out.glob("*.jsonl")) if out.is_dir() else ()
