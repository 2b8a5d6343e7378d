"""The records that flow between the parts. All are frozen and slotted; JSONL on disk has the same field names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeVar

FinishReason = Literal["stop", "length"]
"""``stop``: an end-of-sequence id was generated (and is the last token); ``length``: a limit was reached."""

PromptStyle = Literal["fact", "solution"]
"""``fact``: short answers stated by a sentence; ``solution``: worked solutions that end in a boxed answer."""


VerifierName = Literal["contains", "exact", "boxed", "number"]
"""Which rule decides whether a text gives the answer; see ``mixing.verifier``."""


class Method(StrEnum):
    """What a row of the report was trained with."""

    BASE = "base"
    SFT = "sft"
    MIXSD = "mixsd"
    MIXSD_KL = "mixsd_kl"
    OPSD = "opsd"
    OPSD_NLL = "opsd_nll"
    MEMIT = "memit"


def rate_name(method: str, rate: float) -> str:
    """The report name of a method at a mixing rate: ``mixsd@0.3``."""
    return f"{method}@{rate:.12g}"


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its answer.

    Attributes:
        id: Unique within its corpus, over all splits.
        question: What the user message asks. Everything the naive prompt shows.
        answer: The short answer that the verifier looks for.
        target: SFT's canonical text (the paper's y). Never empty once read; defaults to ``answer``.
        context: What only the expert sees. Never empty once read; defaults to ``answer``.
        subject: The entity or operation that the example is about; may be empty.
        split: Name of the split, which is the file's stem in ``corpus/``.
        answer_type: Free label of the kind of answer ("Person", "number", ...); may be empty.
        aliases: Other texts that count as the answer.
    """

    id: str
    question: str
    answer: str
    target: str
    context: str
    subject: str = ""
    split: str = "train"
    answer_type: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MixRequest:
    """What a mixed rollout needs to know of an example: two prompts as token ids, and the answers to verify.

    Attributes:
        example_id: ``Example.id``; part of the key of every coin.
        naive_ids: Token ids of the rendered naive prompt.
        expert_ids: Token ids of the rendered expert prompt.
        answer: The answer for the verifier.
        aliases: Other accepted answers.
    """

    example_id: str
    naive_ids: tuple[int, ...]
    expert_ids: tuple[int, ...]
    answer: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A finished training target. The token ids are the truth; the text is for people.

    Attributes:
        example_id: ``Example.id``.
        prompt_ids: Token ids of the naive prompt, what the student sees.
        token_ids: Token ids of the target; ends in an end-of-sequence id exactly if ``finish_reason`` is ``stop``.
        from_naive: One bool a token of ``token_ids``: True where the naive conditional decoded it.
        attempts: Rollouts made until the verifier accepted, 1 for the first; 0 for targets nobody sampled (SFT).
        finish_reason: Why the target ends.
        text: ``token_ids`` decoded without special tokens.
        generated: Tokens that were generated for it, those of rejected attempts included; None where nobody counted.
            No part of what makes two targets equal.
    """

    example_id: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    from_naive: tuple[bool, ...]
    attempts: int
    finish_reason: FinishReason
    text: str
    generated: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.from_naive):
            raise ValueError(
                f"target {self.example_id!r}: {len(self.token_ids)} token ids but {len(self.from_naive)} coins"
            )


@dataclass(frozen=True, slots=True)
class Discard:
    """An example that no attempt could answer.

    Attributes:
        example_id: ``Example.id``.
        name: The report name of the method (``mixsd@0.3``).
        attempts: Rollouts made.
        answer: The answer that was looked for.
        last_text: Text of the last rejected rollout.
        reason: Why that one was rejected.
        generated: Tokens that were generated in vain; None where nobody counted. No part of what makes two equal.
    """

    example_id: str
    name: str
    attempts: int
    answer: str
    last_text: str
    reason: str
    generated: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Response:
    """One graded answer of an evaluation, a line of ``evals/<name>/<step>/<benchmark>.jsonl``.

    Attributes:
        example_id: ``Example.id``.
        prompt: The user message.
        response: The generated text.
        answer: The accepted answer.
        correct: The verdict of the verifier, or of the corpus's judge.
        finish_reason: Why generation ended.
        token_ids: Generated token ids.
        verdict: The judge's own word (``correct``, ``incorrect``, ``not_attempted``); empty for a verifier.
    """

    example_id: str
    prompt: str
    response: str
    answer: str
    correct: bool
    finish_reason: FinishReason
    token_ids: tuple[int, ...] = field(default=())
    verdict: str = ""


R = TypeVar("R")


def to_record(value: Any) -> dict[str, Any]:
    """Turn a record into a JSON-ready mapping with its fields in order."""
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def from_record(cls: type[R], record: Mapping[str, Any]) -> R:
    """Build a record of ``cls`` from a mapping, turning lists into tuples.

    Raises:
        ValueError: A field is missing or unknown; the text names it.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(record) - set(fields))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r} for {cls.__name__}")
    required = [
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [n for n in required if n not in record]
    if missing:
        raise ValueError(f"field {missing[0]!r} of {cls.__name__} is missing")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return cls(**values)
