"""The journal of a generation: every finished outcome at once on disk, so that nothing is generated twice.

One JSON line an outcome, synced before the next; a line that a crash cut off is dropped on the next start. When all
examples have an outcome, the targets are written in corpus order to their final file and the journal goes away.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from nemo_mixsd.errors import JournalError, StorageError
from nemo_mixsd.io import atomic_writer, dump_line, read_jsonl, sync_directory, write_jsonl
from nemo_mixsd.mixing.mixer import Rollouts
from nemo_mixsd.types import Discard, MixRequest, Target, from_record, to_record

logger = logging.getLogger(__name__)

Outcome = Target | Discard
KINDS: dict[str, type[Any]] = {"target": Target, "discard": Discard}
"""What a journal of targets holds, by the ``kind`` of its lines."""


def fingerprint(*parts: Any) -> str:
    """A short digest of JSON-ready values: what a journal's outcomes depend on."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=12).hexdigest()


class Journal:
    """An append-only file of records with an ``example_id``. Memory: one id and one file offset a record."""

    def __init__(self, path: Path, key: str, kinds: Mapping[str, type[Any]] = KINDS) -> None:
        """Open or create a journal, and drop a last line that is incomplete.

        Args:
            path: Where it is kept.
            key: ``fingerprint`` of all that the records depend on.
            kinds: The record types that it holds, by the ``kind`` of their lines.

        Raises:
            JournalError: It was written under another key, or is damaged before its last line.
            StorageError: It cannot be written.
        """
        self.path = Path(path)
        self._kinds = dict(kinds)
        self._offsets: dict[str, tuple[int, str]] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = open(self.path, "a+b")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise StorageError(f"cannot open the journal {self.path}: {error}") from error
        self._end = self._recover(key)

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, example_id: str) -> bool:
        return example_id in self._offsets

    def append(self, outcome: Any) -> None:
        """Add a record and sync it to disk.

        Raises:
            StorageError: The disk is full or gone; what was in the journal before is still whole.
        """
        kind = self._kind(outcome)
        offset = self._end
        self._write({"kind": kind, **to_record(outcome)})
        self._offsets[outcome.example_id] = (offset, kind)

    def read(self, example_id: str) -> Any:
        """The record of one example."""
        offset, _ = self._offsets[example_id]
        self._file.seek(offset)
        return self._parse(self._file.readline())

    def kind(self, example_id: str) -> str:
        """The kind of the record of one example."""
        return self._offsets[example_id][1]

    def ids(self, kind: str | None = None) -> Iterator[str]:
        """Ids with an outcome of that kind (``target`` or ``discard``), or of any."""
        return (example_id for example_id, (_, found) in self._offsets.items() if kind in (None, found))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Close and delete: the outcomes are in their final file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _recover(self, key: str) -> int:
        self._file.seek(0)
        good = 0
        for number, line in enumerate(self._file, start=1):
            complete = line.endswith(b"\n")
            try:
                if number == 1:
                    self._check_header(line, key)
                else:
                    record = self._parse(line)
                    self._offsets[record.example_id] = (good, self._kind(record))
            except (ValueError, TypeError) as error:
                if isinstance(error, JournalError):
                    raise
                if complete:
                    raise JournalError(
                        f"{self.path}:{number} is damaged ({error}); delete the file to generate its targets again"
                    ) from error
            if not complete:
                logger.warning("%s: the last line was cut off by a crash and is dropped", self.path)
                self._offsets = {i: entry for i, entry in self._offsets.items() if entry[0] != good}
                break
            good += len(line)
        self._file.truncate(good)
        self._end = good
        if good == 0:
            self._write({"journal": 1, "key": key})
        return self._end

    def _kind(self, record: Any) -> str:
        return next(kind for kind, cls in self._kinds.items() if isinstance(record, cls))

    def _parse(self, line: bytes) -> Any:
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        cls = self._kinds.get(record.pop("kind", ""))
        if cls is None:
            raise ValueError("unknown kind of record")
        return from_record(cls, record)

    def _check_header(self, line: bytes, key: str) -> None:
        if not line.endswith(b"\n"):
            return
        header = json.loads(line)
        if not isinstance(header, dict):
            raise ValueError("not a JSON object")
        if header.get("key") != key:
            raise JournalError(
                f"{self.path} belongs to another configuration (key {header.get('key')}, now {key}); give another "
                "run_dir, or delete the file to generate its targets again"
            )

    def _write(self, record: dict[str, Any]) -> None:
        data = (dump_line(record) + "\n").encode("utf-8")
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._drop_partial_line()
            raise StorageError(
                f"cannot write the journal {self.path}: {error.strerror or error}; free space and start the same "
                f"command again: {len(self)} finished examples are kept"
            ) from error
        self._end += len(data)

    def _drop_partial_line(self) -> None:
        """After a failed write: reopen without the buffered bytes and cut the file back to its last whole line."""
        try:
            self._file.close()
        except OSError:
            logger.debug("%s: closing after a failed write failed too", self.path)
        os.truncate(self.path, self._end)
        self._file = open(self.path, "a+b")  # noqa: SIM115 - closed by close()


def generate(
    requests: Iterable[MixRequest],
    mixer: Rollouts,
    journal: Journal,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> None:
    """Generate an outcome for every request that has none in the journal yet.

    Args:
        requests: In any order; read as examples finish.
        mixer: Generates.
        journal: Keeps what is finished.
        on_outcome: Called after an outcome is on disk.

    Raises:
        JournalError: The journal holds a target for another prompt under the same id.
        EngineError: See ``Rollouts.run``.
        StorageError: See ``Journal.append``.
    """

    def missing() -> Iterator[MixRequest]:
        for request in requests:
            if request.example_id not in journal:
                yield request
                continue
            known = journal.read(request.example_id)
            if isinstance(known, Target) and known.prompt_ids != request.naive_ids:
                raise JournalError(
                    f"{journal.path}: example {request.example_id!r} has another prompt than the one in the journal; "
                    "give another run_dir, or delete the file to generate its targets again"
                )

    for outcome in mixer.run(missing()):
        journal.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)


def finish(journal: Journal, order: Iterable[str], targets: Path, discarded: Path, name: str) -> tuple[int, int]:
    """Write the final files in corpus order and remove the journal.

    Args:
        journal: With an outcome for every id of ``order``.
        order: Example ids in corpus order.
        targets: File of accepted targets, the completion mark of the stage: written last.
        discarded: File of discards of all methods; lines of ``name`` are replaced, the others kept.
        name: The report name of the method.

    Returns:
        How many targets and how many discards.
    """
    order = list(order)
    discards = [journal.read(i) for i in order if journal.kind(i) == "discard"]
    others = [d for d in read_jsonl(discarded, Discard) if d.name != name] if discarded.exists() else []
    write_jsonl(discarded, [*others, *discards])
    count = 0
    with atomic_writer(targets) as handle:
        for example_id in order:
            outcome = journal.read(example_id)
            if isinstance(outcome, Target):
                handle.write(dump_line(to_record(outcome)) + "\n")
                count += 1
    journal.remove()
    sync_directory(targets.parent)
    return count, len(discards)
