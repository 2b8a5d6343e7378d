"""From one row of a file to an example: which fields exist, what each may hold, and what is said when one is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nemo_mixsd.errors import CorpusError, shown
from nemo_mixsd.types import Example

FIELDS: tuple[str, ...] = (
    "question",
    "answer",
    "id",
    "context",
    "target",
    "subject",
    "answer_type",
    "aliases",
    "paraphrases",
    "split",
)
"""Names of the fields of a row; ``question`` and ``answer`` are the required ones."""

SYNONYMS: Mapping[str, str] = {"prompt": "question", "privileged_context": "context"}
"""TRL's names for two of our fields, accepted in their place."""

_SPLIT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source before anything is known about its fields.

    Attributes:
        where: The place that errors name, ``file:line`` where there is a file.
        number: 1-based number of the line or row; the default id is made of it.
        values: Field names with what the source holds for them.
    """

    where: str
    number: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """One checked row.

    Attributes:
        where: As in ``Row``.
        example: The example of the row.
        paraphrases: Other wordings of its question, each an example of the split ``paraphrase``.
    """

    where: str
    example: Example
    paraphrases: tuple[str, ...]

    def paraphrase_examples(self) -> tuple[Example, ...]:
        """The paraphrases as examples ``<id>/p1``, ``<id>/p2``, ... that share everything but the question."""
        base = self.example
        return tuple(
            Example(
                id=f"{base.id}/p{k}",
                question=question,
                answer=base.answer,
                target=base.target,
                context=base.context,
                subject=base.subject,
                split="paraphrase",
                answer_type=base.answer_type,
                aliases=base.aliases,
            )
            for k, question in enumerate(self.paraphrases, start=1)
        )


def kind(value: object) -> str:
    """The JSON name of the type of ``value`` with its article: "a number", "an object"."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"of type {type(value).__name__}")


def hint(name: str, known: Iterable[str]) -> str:
    """The clause "did you mean 'x'? " with the nearest known name, or nothing where none is near."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}? " if near else ""


def parse_row(row: Row) -> ParsedRow:
    """Check one row and build its example.

    Raises:
        CorpusError: A field is unknown, missing, blank, given twice or of the wrong type; the text names the place,
            the value and the remedy.
    """
    values = _canonical(row)
    question = _required(row, values, "question", _question_text(row, values.get("question")))
    answer = _required(row, values, "answer", values.get("answer"))
    split = _optional(row, values, "split") or "train"
    if not _SPLIT_NAME.fullmatch(split):
        raise CorpusError(
            f"{row.where}: field 'split' is {shown(split)}, which cannot be a file name; use letters, digits, _ and -"
        )
    paraphrases = _texts(row, values, "paraphrases")
    if paraphrases and split != "train":
        raise CorpusError(
            f"{row.where}: field 'paraphrases' stands on a line of split {split!r}; only training lines have them: "
            "remove it, or remove the field 'split'"
        )
    example = Example(
        id=_identifier(row, values),
        question=question,
        answer=answer,
        target=_optional(row, values, "target") or answer,
        context=_optional(row, values, "context") or answer,
        subject=_optional(row, values, "subject", may_be_blank=True),
        split=split,
        answer_type=_optional(row, values, "answer_type", may_be_blank=True),
        aliases=_texts(row, values, "aliases"),
    )
    return ParsedRow(row.where, example, paraphrases)


def _canonical(row: Row) -> dict[str, object]:
    """The row's values under our own names; null counts as absent."""
    out: dict[str, object] = {}
    for name, value in row.values.items():
        field = SYNONYMS.get(name, name)
        if field not in FIELDS:
            raise CorpusError(
                f"{row.where}: unknown field {name!r} = {shown(value)}; {hint(name, (*FIELDS, *SYNONYMS))}"
                f"Known fields: {', '.join(FIELDS)}"
            )
        if field in out:
            other = next(n for n in row.values if n != name and SYNONYMS.get(n, n) == field)
            raise CorpusError(
                f"{row.where}: {other!r} and {name!r} = {shown(value)} are two names of one field; keep one of them"
            )
        if value is not None:
            out[field] = value
    return out


def _question_text(row: Row, value: object) -> object:
    """The text of a question given as a list of one user message; anything else as it is."""
    if not isinstance(value, list):
        return value
    problem = f"{row.where}: the question is {shown(value)}; a list must hold exactly one message"
    remedy = 'write [{"role": "user", "content": "..."}] or the plain string'
    if len(value) != 1 or not isinstance(value[0], Mapping):
        raise CorpusError(f"{problem}, it holds {len(value)} item(s): {remedy}")
    message = value[0]
    if message.get("role") != "user" or "content" not in message:
        raise CorpusError(f"{problem} whose role is 'user', with a 'content': {remedy}")
    return message["content"]


def _required(row: Row, values: Mapping[str, object], field: str, value: object) -> str:
    if field not in values:
        raise CorpusError(
            f"{row.where}: field {field!r} is missing or null; the row has {', '.join(row.values) or 'no fields'}. "
            f"Give every row its {field}"
        )
    return _text(row, field, value, may_be_blank=False)


def _optional(row: Row, values: Mapping[str, object], field: str, *, may_be_blank: bool = False) -> str:
    return _text(row, field, values[field], may_be_blank=may_be_blank) if field in values else ""


def _identifier(row: Row, values: Mapping[str, object]) -> str:
    value = values.get("id", f"line-{row.number}")
    # Numbers are common as ids and have one spelling; True is an int to Python and no id to anybody.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(row, "id", value, may_be_blank=False)


def _text(row: Row, field: str, value: object, *, may_be_blank: bool) -> str:
    if not isinstance(value, str):
        remedy = f'"{value}"' if isinstance(value, int | float) and not isinstance(value, bool) else '"..."'
        raise CorpusError(f"{row.where}: field {field!r} is {shown(value)}, {kind(value)}; write a string: {remedy}")
    if not value.strip() and not may_be_blank:
        needed = field in ("question", "answer")
        remedy = "fill it in or remove the row" if needed else "fill it in or leave the field out"
        raise CorpusError(f"{row.where}: field {field!r} is blank ({shown(value)}); {remedy}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{row.where}: field {field!r} = {shown(value)} holds half of a surrogate pair at character "
            f"{error.start}; write the character itself or both halves"
        ) from error
    return value


def _texts(row: Row, values: Mapping[str, object], field: str) -> tuple[str, ...]:
    value = values.get(field, [])
    if not isinstance(value, list | tuple):
        raise CorpusError(
            f'{row.where}: field {field!r} is {shown(value)}, {kind(value)}; write a list of strings: ["..."]'
        )
    return tuple(_text(row, f"{field}[{i}]", item, may_be_blank=False) for i, item in enumerate(value))
