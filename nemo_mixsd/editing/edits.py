"""Examples as edits: which facts can be edited, which cannot and why, and which contradict each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nemo_mixsd.errors import CorpusError
from nemo_mixsd.types import Example

_LISTED = 10


@dataclass(frozen=True, slots=True)
class Edit:
    """A fact to write into the weights: where the subject stands in the question, and what is to be answered.

    Attributes:
        example_id: ``Example.id``.
        subject: The subject as the question spells it.
        question: The question.
        answer: The new object, which becomes the start of the response.
        span: First character of the subject in ``question``, and the one after its last.
    """

    example_id: str
    subject: str
    question: str
    answer: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An example that cannot be edited, and why."""

    example_id: str
    reason: str


def collect_edits(examples: Sequence[Example]) -> tuple[list[Edit], list[Skipped]]:
    """Turn the training examples into edits, in their order.

    Args:
        examples: The split ``train``.

    Returns:
        The edits, and the examples that are none: without a subject, with one that the question does not name, or
        that say again what another example says.

    Raises:
        CorpusError: Two examples give one subject and question different answers; all such pairs are listed.
            Or no example can be edited.
    """
    edits: list[Edit] = []
    skipped: list[Skipped] = []
    first: dict[tuple[str, str], Example] = {}
    conflicts: list[tuple[Example, Example]] = []
    for example in examples:
        known = first.setdefault((_plain(example.subject), _plain(example.question)), example)
        span = find_subject(example.question, example.subject)
        if known is not example:
            if _agree(known, example):
                skipped.append(Skipped(example.id, f"says the same as {known.id!r}"))
            else:
                conflicts.append((known, example))
        elif not example.subject.strip():
            skipped.append(Skipped(example.id, "has no subject"))
        elif span is None:
            skipped.append(Skipped(example.id, f"its question does not name its subject {example.subject!r}"))
        else:
            found = example.question[slice(*span)]
            edits.append(Edit(example.id, found, example.question, example.answer, span))
    if conflicts:
        raise CorpusError(_describe(conflicts))
    if not edits:
        raise CorpusError(
            f"method memit: none of the {len(examples)} training examples can be edited (for example "
            f"{skipped[0].example_id!r} {skipped[0].reason}); give each a subject that its question names, or leave "
            "memit out of method"
        )
    return edits, skipped


def find_subject(question: str, subject: str) -> tuple[int, int] | None:
    """Where ``question`` names ``subject`` last: as a whole word if it does so, in any case if it must be.

    Returns:
        The half-open range of characters, or None.
    """
    name = re.escape(subject.strip())
    if not name:
        return None
    for pattern in (rf"(?<!\w){name}(?!\w)", name):  # the second for scripts that do not part words
        for flags in (re.NOFLAG, re.IGNORECASE):
            found = list(re.finditer(pattern, question, flags))
            if found:
                return found[-1].span()
    return None


def name_skipped(skipped: Sequence[Skipped]) -> str:
    """``; 2 skipped: 'a' has no subject, 'b' ...`` for people, or nothing."""
    if not skipped:
        return ""
    named = ", ".join(f"{s.example_id!r} {s.reason}" for s in skipped[:_LISTED])
    more = f", and {len(skipped) - _LISTED} more" if len(skipped) > _LISTED else ""
    return f"; {len(skipped)} skipped: {named}{more}"


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _agree(one: Example, other: Example) -> bool:
    names = {_plain(name) for name in (one.answer, *one.aliases)}
    return _plain(other.answer) in names or _plain(one.answer) in {_plain(name) for name in other.aliases}


def _describe(conflicts: list[tuple[Example, Example]]) -> str:
    lines = [
        f"{a.question!r} about {a.subject!r}: {a.answer!r} ({a.id}) / {b.answer!r} ({b.id})"
        for a, b in conflicts[:_LISTED]
    ]
    more = f"; and {len(conflicts) - _LISTED} more" if len(conflicts) > _LISTED else ""
    return (
        f"method memit: {len(conflicts)} edits contradict another one (same subject and question, another object); "
        f"keep one of each or leave memit out of method: {'; '.join(lines)}{more}"
    )
