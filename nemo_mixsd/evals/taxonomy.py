"""Kinds of wrong responses (Section 7.3 and Appendix E.3 of the paper): what a method does when it is wrong.

Each wrong response gets the first kind that fits, so that the kinds exclude each other and sum to the errors:

1. ``format``: there is no answer to be judged. For code: neither a fenced block nor a boxed answer.
2. ``leakage``: it names an invented entity of the corpus, of two words or more, that its prompt does not name.
3. ``collapse``: an answer with next to no reasoning. For code: a boxed answer, or a block without a function.
4. ``genuine``: none of these; an attempt that came out wrong.

The paper calls a HumanEval response without a code block ``format`` and one that is a boxed stub ``collapse``; as the
first would swallow the second, a boxed answer counts as something to judge here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field

from nemo_mixsd.evals.answers import BOXED, extract_answer
from nemo_mixsd.evals.benchmarks import BenchmarkResponse, Kind
from nemo_mixsd.section import Section
from nemo_mixsd.types import Example

ErrorKind = Literal["format", "leakage", "collapse", "genuine"]
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)
"""In order of priority."""

REAL_NAMES = ("kgfunc", "simpleqa", "mquake")
"""Corpora without invented entities: names of the real world, or none at all."""


class TaxonomyConfig(Section):
    """How wrong responses are sorted. Changes the report only, never a verdict."""

    min_reasoning_words: int = Field(10, ge=0)
    """Fewer words than this beside the answer are a collapse. Templates that a training leaves behind have three to
    six ("The answer is X."); of the human solutions of GSM8K and MATH-500, which are terse, one in forty at most has
    fewer than ten."""
    min_entity_words: int = Field(2, ge=1)
    """Words of an entity that counts as leaked. A single invented word may be a part of an ordinary one."""
    leakage: Literal["auto"] | bool = "auto"
    """Whether leakage is looked for; ``auto`` is where the corpus has invented entities (not ``kgfunc``, ``simpleqa``
    and ``mquake``)."""
    examples: int = Field(3, ge=0)
    """Responses of each kind that ``nemo-mixsd errors`` shows."""

    def looks_for_leakage(self, corpus: str) -> bool:
        """Whether the entities of that corpus are looked for."""
        return corpus not in REAL_NAMES if self.leakage == "auto" else self.leakage


@dataclass(frozen=True, slots=True)
class Classified:
    """A wrong response with its kind; ``evidence`` says what decided, in a few words."""

    response: BenchmarkResponse
    kind: ErrorKind
    evidence: str


_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words(text: str) -> tuple[str, ...]:
    """The words of a text, case folded; punctuation and layout do not count."""
    return tuple(match.group().casefold() for match in _WORD.finditer(text))


class Entities:
    """Names of several words, found in texts as whole words in order, whatever their case and spacing."""

    def __init__(self, names: Iterable[str], min_words: int = 2) -> None:
        self._names: dict[tuple[str, ...], str] = {}
        for name in names:
            key = words(name)
            if len(key) >= min_words and not any(word.isdigit() for word in key):
                self._names.setdefault(key, name)
        self._lengths = sorted({len(key) for key in self._names})

    def __len__(self) -> int:
        return len(self._names)

    def within(self, text: str) -> Iterator[str]:
        """The names in ``text``, in the order in which they stand, each once a place."""
        found = words(text)
        for start in range(len(found)):
            for length in self._lengths:
                name = self._names.get(found[start : start + length])
                if name is not None and start + length <= len(found):  # a slice may be cut off at the end
                    yield name

    def without(self, texts: Iterable[str]) -> Entities:
        """These names without the ones that ``texts`` hold."""
        known = {name for text in texts for name in self.within(text)}
        return Entities((name for name in self._names.values() if name not in known), 0)


def corpus_entities(examples: Iterable[Example], min_words: int = 2) -> Entities:
    """The entities of a corpus: subjects and answers of its examples that are names.

    A name of a subject is one that starts with a capital letter; so is one of an answer, which may also be a sentence
    or a number.
    """
    names = (text for e in examples for text in (e.subject, e.answer) if text[:1].isupper() and len(text) <= 80)
    return Entities(names, min_words)


def classify(response: BenchmarkResponse, kind: Kind, entities: Entities, config: TaxonomyConfig) -> Classified:
    """The kind of one wrong response.

    Args:
        response: A response whose verdict is "wrong".
        kind: What an answer of its benchmark is.
        entities: Invented names; empty where leakage is not looked for.
        config: Thresholds.

    Raises:
        ValueError: The response is right.
    """
    if response.correct:
        raise ValueError(f"{response.problem_id!r}, sample {response.sample}, is right")
    boxed = extract_answer(response.response, "boxed")
    if (missing := _no_answer(response, kind, boxed)) is not None:
        return Classified(response, "format", missing)
    in_prompt = set(entities.within(response.prompt))
    for name in entities.within(response.response):
        if name not in in_prompt:
            return Classified(response, "leakage", name)
    if (stub := _stub(response, kind, boxed, config.min_reasoning_words)) is not None:
        return Classified(response, "collapse", stub)
    return Classified(response, "genuine", response.detail)


def _no_answer(response: BenchmarkResponse, kind: Kind, boxed: str | None) -> str | None:
    if kind == "instructions":
        return None if response.response.strip() else "empty response"
    if response.extracted is None and not (kind == "code" and boxed):
        return response.detail or "no answer"
    return None


def _stub(response: BenchmarkResponse, kind: Kind, boxed: str | None, least: int) -> str | None:
    if kind == "instructions":  # these ask for texts of any length
        return None
    if kind == "code":
        if response.extracted is None:
            return f"boxed answer {boxed!r} in place of code"
        return None if re.search(r"\b(?:def|return|lambda)\b", response.extracted) else "a code block without code"
    count = reasoning_words(response.response, response.extracted)
    return f"{count} words beside the answer" if count < least else None


def reasoning_words(text: str, answer: str | None) -> int:
    """Words and signs between spaces that are neither in a box nor the answer itself."""
    text = _without_boxes(text)
    rest = set((answer or "").split())
    return sum(1 for word in text.split() if word.strip(".,;:!?()$*#[]{}") and word.strip(".,;:!?()$*") not in rest)


def _without_boxes(text: str) -> str:
    out, depth, i = [], 0, 0
    while i < len(text):
        head = BOXED.match(text, i) if depth == 0 else None
        if head:
            depth, i = 1, head.end()
            continue
        if depth:
            depth += {"{": 1, "}": -1}.get(text[i], 0)
        else:
            out.append(text[i])
        i += 1
    return "".join(out)
