"""Checks on any corpus before training: what contradicts, leaks, overlaps, is empty or is too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from nemo_mixsd.corpora.base import Corpus
from nemo_mixsd.errors import shown
from nemo_mixsd.evals.answers import normalise
from nemo_mixsd.mixing.verifier import ContainsVerifier, Verifier, make_verifier
from nemo_mixsd.randomness import digest
from nemo_mixsd.types import Example

Severity = Literal["error", "warning"]
Kind = Literal[
    "id",
    "empty",
    "unverifiable",
    "duplicate",
    "contradiction",
    "overlap",
    "leak",
    "context",
    "target",
    "long",
    "tokens",
]
SEVERITIES: dict[Kind, Severity] = {
    "id": "error",
    "empty": "error",
    "unverifiable": "error",
    "duplicate": "warning",
    "contradiction": "error",
    "overlap": "error",
    "leak": "warning",
    "context": "warning",
    "target": "warning",
    "long": "warning",
    "tokens": "error",
}
"""Errors spoil training or its figures; warnings are worth a look."""

PURPOSES: dict[str, frozenset[str]] = {"retrieval": frozenset({"leak"})}
"""What a split of that name is for in every corpus: its questions show the fact among others."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: ``error`` or ``warning``.
        kind: Which check.
        split: The split in which it was found.
        example_ids: The examples that are concerned, the later one last; empty for "and so many more".
        message: What is the matter and what to do.
    """

    severity: Severity
    kind: Kind
    split: str
    example_ids: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What is looked at.

    Attributes:
        count_tokens: Counts the tokens of a text; None leaves prompt lengths unchecked.
        max_prompt_tokens: The most tokens that question and context may have together, the template not counted.
        max_chars: The most characters that one field may have.
        max_listed: The most findings of one kind that are listed for a split; the rest is counted.
    """

    count_tokens: Callable[[str], int] | None = None
    max_prompt_tokens: int = 4096
    max_chars: int = 20_000
    max_listed: int = 20


@dataclass(slots=True)
class _Known:
    """A question seen before: the id of its example, and digests of the answers accepted there."""

    example_id: str
    answers: frozenset[int]


@dataclass(slots=True)
class _Tally:
    """The findings so far, at most ``limit`` listed for each split and kind, and how many there were."""

    limit: int
    exempt: dict[str, frozenset[str]]
    findings: list[Finding] = field(default_factory=list)
    counts: dict[tuple[str, Kind], int] = field(default_factory=dict)

    def add(self, kind: Kind, split: str, ids: tuple[str, ...], message: str) -> None:
        if kind in self.exempt.get(split, ()):
            return
        count = self.counts.get((split, kind), 0) + 1
        self.counts[split, kind] = count
        if count <= self.limit:
            self.findings.append(Finding(SEVERITIES[kind], kind, split, ids, message))

    def finish(self) -> list[Finding]:
        for (split, kind), count in self.counts.items():
            if count > self.limit:
                message = f"and {count - self.limit} more of this kind"
                self.findings.append(Finding(SEVERITIES[kind], kind, split, (), message))
        return self.findings


def check_corpus(corpus: Corpus[Any], options: CheckOptions | None = None) -> list[Finding]:
    """Check every split of ``corpus``, ``train`` first.

    Examples are streamed. Kept of each are its id and digests of its question and answers, never its texts. Findings
    that are a split's purpose (``PURPOSES``, and the corpus's own ``expected_findings``) are not reported.

    Raises:
        CorpusError: The corpus cannot be read.
    """
    options = options or CheckOptions()
    exempt = {**PURPOSES, **getattr(corpus, "expected_findings", {})}
    tally = _Tally(options.max_listed, exempt)
    verifier = make_verifier(corpus.verifier)
    ids: dict[int, str] = {}
    train: dict[int, _Known] = {}
    for split in corpus.split_names():
        own: dict[int, _Known] = train if split == "train" else {}
        for example in corpus.iter_split(split):
            _check_id(example, split, ids, tally)
            _check_fields(example, split, options, tally)
            # In worked problems the answer may be one of the operands: no leak.
            if _check_answer(example, split, verifier, tally) and corpus.prompt_style == "fact":
                _check_prompts(example, split, tally)
            _check_known(example, split, own, train, tally)
    return tally.finish()


def has_errors(findings: Sequence[Finding]) -> bool:
    """True if any finding is an error."""
    return any(finding.severity == "error" for finding in findings)


def render_findings(findings: Sequence[Finding]) -> Table:
    """The findings as a table for the terminal."""
    table = Table("severity", "kind", "split", "examples", "message")
    for finding in findings:
        style = "red" if finding.severity == "error" else "yellow"
        # Texts of a corpus may hold square brackets, which rich would take for markup: escaped by Text.
        cells = (finding.kind, finding.split, ", ".join(finding.example_ids), finding.message)
        table.add_row(Text(finding.severity, style=style), *map(Text, cells))
    return table


def _check_id(example: Example, split: str, ids: dict[int, str], tally: _Tally) -> None:
    key = digest(example.id)
    if key in ids:
        message = f"the id is taken in split {ids[key]!r}; ids are unique over all splits"
        tally.add("id", split, (example.id,), message)
    ids[key] = split


def _check_fields(example: Example, split: str, options: CheckOptions, tally: _Tally) -> None:
    for name, text in _texts(example):
        if not text.strip():
            tally.add("empty", split, (example.id,), f"field {name!r} is blank; fill it in or remove the example")
        if len(text) > options.max_chars:
            message = f"field {name!r} has {len(text)} characters, more than {options.max_chars}; shorten or split it"
            tally.add("long", split, (example.id,), message)
    if options.count_tokens is not None:
        tokens = options.count_tokens(f"{example.context}\n\n{example.question}")
        if tokens > options.max_prompt_tokens:
            message = (
                f"context and question have {tokens} tokens, more than {options.max_prompt_tokens}, and the template "
                "adds to them; shorten the context"
            )
            tally.add("tokens", split, (example.id,), message)


def _texts(example: Example) -> Iterator[tuple[str, str]]:
    for name in ("question", "answer", "target", "context"):
        yield name, getattr(example, name)


def _check_answer(example: Example, split: str, verifier: Verifier, tally: _Tally) -> bool:
    """The verifier must accept the answer given as such, or no target of the example is ever accepted."""
    if not example.answer.strip():
        return False  # reported as empty
    if not verifier.verify(verifier.canonical(example.answer), [example.answer]):
        message = f"verifier {verifier.name!r} rejects the answer {shown(example.answer)} itself; reword the answer"
        tally.add("unverifiable", split, (example.id,), message)
        return False
    answers = (example.answer, *example.aliases)
    if split == "train" and example.target != example.answer and not verifier.verify(example.target, answers):
        message = f"the target does not give the answer {shown(example.answer)}; state it in the target"
        tally.add("target", split, (example.id,), message)
    return True


def _check_prompts(example: Example, split: str, tally: _Tally) -> None:
    """The expert prompt must hold the answer, the naive prompt must not."""
    if split == "train" and not _contains(example.context, (example.answer, *example.aliases)):
        message = f"the context does not hold the answer {shown(example.answer)}, so the expert may not know it"
        tally.add("context", split, (example.id,), message)
    if _contains(example.question, (example.answer,)):
        message = f"the question holds the answer {shown(example.answer)}: the naive prompt gives it away; reword it"
        tally.add("leak", split, (example.id,), message)


def _contains(text: str, answers: Sequence[str]) -> bool:
    return ContainsVerifier().verify(text, answers)


def _check_known(example: Example, split: str, own: dict[int, _Known], train: dict[int, _Known], tally: _Tally) -> None:
    question = digest(normalise(example.question))
    answers = frozenset(digest(normalise(answer)) for answer in (example.answer, *example.aliases))
    known = own.get(question)
    if known is None:
        own[question] = _Known(example.id, answers)
    elif known.answers & answers:
        message = "the same question with the same answer; remove one, or it counts twice"
        tally.add("duplicate", split, (known.example_id, example.id), message)
    else:
        message = (
            f"the same question has another answer here ({shown(example.answer)}); keep one, list the other under "
            "'aliases' if both are right, or make the questions tell them apart"
        )
        tally.add("contradiction", split, (known.example_id, example.id), message)
    if split != "train" and question in train:
        message = "the question stands in split 'train' word for word; an evaluation on it measures recall of training"
        tally.add("overlap", split, (train[question].example_id, example.id), message)
