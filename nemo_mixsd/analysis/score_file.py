"""NLL of any targets file under any model: checked, resumable, with the texts of the tokens."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_mixsd.analysis.distribution import above_all
from nemo_mixsd.analysis.nll import Scored, TokenNLL, mean_nll, token_nll
from nemo_mixsd.analysis.tokens import Overlap, keep_pieces, overlap
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.io import read_jsonl, write_jsonl
from nemo_mixsd.mixing.journal import Journal, fingerprint
from nemo_mixsd.progress import track
from nemo_mixsd.types import Target

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_CHUNK = 8
"""Batches whose scores are journaled together; targets of similar length share a batch within them."""


@dataclass(frozen=True, slots=True)
class TargetFile:
    """A file of targets that was read and checked.

    Attributes:
        path: Where.
        name: Its stem, the name of its results.
        targets: In the order of the file.
        digest: Of its bytes.
    """

    path: Path
    name: str
    targets: tuple[Target, ...]
    digest: str


def read_targets(path: Path, vocabulary: int | None = None) -> TargetFile:
    """Read a file of targets.

    Args:
        path: JSONL of ``Target``, as in ``targets/`` of a run.
        vocabulary: Ids that the model has; None checks no upper bound.

    Raises:
        CorpusError: It is missing, empty, no file of targets, repeats an id, or holds ids that the model lacks.
    """
    if not path.is_file():
        raise CorpusError(f"{path}: no such file; give a JSONL of targets, such as runs/NAME/targets/sft.jsonl")
    try:
        targets = tuple(read_jsonl(path, Target))
    except ValueError as error:
        raise CorpusError(f"{error}; a line of targets has the fields of nemo_mixsd.types.Target") from error
    if not targets:
        raise CorpusError(f"{path} holds no targets")
    seen: set[str] = set()
    for number, target in enumerate(targets, start=1):
        if target.example_id in seen:
            raise CorpusError(f"{path}:{number}: example_id {target.example_id!r} occurs twice")
        seen.add(target.example_id)
        if not target.prompt_ids or not target.token_ids:
            raise CorpusError(f"{path}:{number}: the prompt or the target of {target.example_id!r} has no token")
        ids = (*target.prompt_ids, *target.token_ids)
        if min(ids) < 0 or (vocabulary is not None and max(ids) >= vocabulary):
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise CorpusError(
                f"{path}:{number}: token id {wrong} is not in the model's vocabulary of {vocabulary}; the targets were "
                "made with another tokenizer, give --model the base model of their run"
            )
    return TargetFile(path, path.stem, targets, hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest())


def check_tokenizer(file: TargetFile, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse targets whose ids this tokenizer reads as other texts than they carry.

    Raises:
        CorpusError: Most of a sample of them do not decode to their text.
    """
    sample = file.targets[:20]
    wrong = [
        t for t in sample if _plain(tokenizer.decode(list(t.token_ids), skip_special_tokens=True)) != _plain(t.text)
    ]
    if 2 * len(wrong) > len(sample):
        got = tokenizer.decode(list(wrong[0].token_ids), skip_special_tokens=True)
        raise CorpusError(
            f"{file.path}: the model's tokenizer reads the ids of {wrong[0].example_id!r} as {got[:60]!r}, not as "
            f"{wrong[0].text[:60]!r}; the targets were made with another tokenizer"
        )


def _plain(text: object) -> str:
    return " ".join(str(text).split())


def score_file(
    file: TargetFile, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path, batch_size: int
) -> list[TokenNLL]:
    """Per-token NLL of a file's targets under a model (Eq. 3), or go on where a killed start stopped.

    Writes ``<name>.nll.jsonl`` and ``<name>.tokens.jsonl`` below ``out``, in the order of the file.

    Args:
        file: The targets.
        model: In evaluation mode.
        tokenizer: Of the model; only for the texts.
        out: The folder.
        batch_size: Sequences a forward pass.

    Raises:
        JournalError: A cut-off start in the same folder scored another file or model.
    """
    pieces = out / f"{file.name}.tokens.jsonl"
    if not pieces.exists():
        keep_pieces(partial(tokenizer.decode, clean_up_tokenization_spaces=False), file.targets, pieces)
    path = out / f"{file.name}.nll.jsonl"
    if path.exists():
        return list(read_jsonl(path, TokenNLL))
    key = fingerprint("nll", file.digest, str(model.config.name_or_path), str(model.dtype))
    journal = Journal(path.with_name(f".{path.name}.journal"), key, {"nll": TokenNLL})
    todo = [t for t in file.targets if t.example_id not in journal]
    with track(f"score {file.name}", len(file.targets), "targets", len(journal)) as task:
        for part in _chunks(todo, _CHUNK * batch_size):
            sequences = [Scored(t.example_id, t.prompt_ids, t.token_ids) for t in part]
            for record in token_nll(model, sequences, batch_size, task.advance):
                journal.append(record)
    records = [journal.read(t.example_id) for t in file.targets]
    write_jsonl(path, records)
    journal.remove()
    return records


def _chunks(targets: Sequence[Target], size: int) -> Iterator[Sequence[Target]]:
    """Targets of similar length together, ``size`` at a time."""
    ordered = sorted(targets, key=lambda t: (len(t.prompt_ids) + len(t.token_ids), t.example_id))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def summary(name: str, records: Sequence[TokenNLL], kept: Overlap | None = None) -> dict[str, Any]:
    """What ``nll.json`` says of one file: mean, counts and shares above thresholds, overlap with ``--against``."""
    return {
        "name": name,
        "targets": len(records),
        "tokens": sum(len(r.nll) for r in records),
        "mean_nll": mean_nll(records),
        "above": [{**asdict(each), "share": each.share} for each in above_all(records)],
        "overlap": None if kept is None else {**asdict(kept), "pooled": kept.pooled},
    }


def overlap_with(against: TargetFile, against_nll: Sequence[TokenNLL], file: TargetFile) -> Overlap:
    """Table 9 between two files."""
    return overlap(against.targets, against_nll, file.targets)
