r"""The one place where an answer is taken out of a text, and where two short answers are compared.

The verifier of mixing, the benchmarks and the error taxonomy all ask here, so that the same response never has two
answers. ``extract_answer`` is the whole interface; the rules by kind:

========== ==========================================================================================================
kind       the answer is
========== ==========================================================================================================
boxed      the content of the last complete ``\boxed{...}``
final      as ``boxed``; without a box what follows ``####`` near the end, or "answer is", "answer:" and the like; of
           several statements the last
number     the last number of that; the last number of the text where nothing is stated, or no number in a statement
           without a box
last_number the last number of the last box; without a box the last number of the text
letter     the letter of the option in ``final``; without that, a last line that is a letter and no more
========== ==========================================================================================================
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Literal

AnswerKind = Literal["boxed", "final", "number", "last_number", "letter"]
"""What is looked for; see the table above."""

HEADING = 100
"""Characters after an "Answer:" at the very beginning from which on it is a heading."""

BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
"""Where a boxed answer begins."""
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
    r"(?!\w|[.,]\d)"  # never the head of a longer number, such as the 1 of 1,000km
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ARTICLES = re.compile(r"\b(?:the|a|an)\b")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox)\s*\{([^{}]*)\}")
_HASHES = re.compile(r"####[ \t]*:?[ \t]*([^\n]+)")
_ANSWER_IS = re.compile(  # what follows is looked at and not taken: a later statement may stand on the same line
    r"\b(?:answer|final\s+result)\b(?:\s+choice|\s+option)?[*_\s]*"
    r"(?:(?:to|for|of)\b[^.\n:=]{0,80}?\s)?"  # the answer to the question is
    r"(?:\bis\b[*_\s]*:?|\bequals\b|\bwould be\b|\bmust be\b|:|=)[*_\s]*(?=([^\n]+))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=\s+[^\d\s]|\s*$)|(?<=[^.\\])[!?](?=\s|$)")
_LETTER = r"[\(\[]?\s*(?:option|choice|answer)?\s*[\(\[]?\s*([A-Z])\s*"
_LETTER_HEAD = re.compile(_LETTER + r"(?:[\)\]]|[.:,;](?:\s|$)|\s+[-–—]|\s*$)", re.IGNORECASE)
_LETTER_ALONE = re.compile(r"^[\s*_$]*" + _LETTER + r"[\)\]]?[\s.*_$]*$")


def extract_answer(text: str, kind: AnswerKind, letters: str = "ABCD") -> str | None:
    """The answer that ``text`` gives, or None if it gives none.

    Args:
        text: A response.
        kind: What is looked for.
        letters: The options there are, for ``letter``.
    """
    if kind == "boxed":
        return extract_boxed(text)
    if kind == "last_number":
        boxed = extract_boxed(text)
        return extract_number(boxed if boxed is not None else text)
    stated = _stated(text)
    if kind == "final":
        return stated
    if kind == "number":
        number = None if stated is None else extract_number(without_markup(stated))
        return number if number or extract_boxed(text) else extract_number(without_markup(text))
    return _letter(text if stated is None else stated, letters, alone=stated is None)


def _stated(text: str) -> str | None:
    """The answer where the text says that it is one: a box, hashes, or the words."""
    boxed = extract_boxed(text)
    if boxed:
        return boxed
    found = [match for match in _ANSWER_IS.finditer(text) if not _is_heading(text, match)]
    found += [match for match in _HASHES.finditer(text) if _is_near_the_end(text, match)]
    last = max(found, key=lambda match: match.start(), default=None)
    return None if last is None else _cut(last.group(1)) or None


def _is_heading(text: str, match: re.Match[str]) -> bool:
    """An "Answer:" that a long response begins with: what follows is the reasoning."""
    return not re.search(r"\w", text[: match.start()]) and len(text) - match.start() > HEADING


def _is_near_the_end(text: str, match: re.Match[str]) -> bool:
    """Hashes with much after them are a Markdown heading."""
    return sum(bool(line.strip()) for line in text[match.end() :].splitlines()) <= 2


def _cut(text: str) -> str:
    """The first sentence, without emphasis, dollar signs around it and the full stop."""
    text = text.strip().strip("*_").strip()
    inline = re.match(r"\\\((.+?)\\\)|\$([^$]+)\$|\\\[(.+?)\\\]", text)
    if inline and not re.match(r"\d", text[inline.end() :].strip()):
        return next(g for g in inline.groups() if g is not None).strip()
    end = _SENTENCE_END.search(text)
    return (text[: end.start()] if end else text).strip().strip("*_").strip()


def _letter(text: str, letters: str, alone: bool) -> str | None:
    text = without_markup(text).strip().strip("$*_{}").strip()
    if alone:  # no statement: only a last line that is nothing but the letter counts
        lines = [line for line in text.splitlines() if line.strip()]
        match = _LETTER_ALONE.match(lines[-1]) if lines else None
    else:
        match = _LETTER_HEAD.match(text)
    letter = match.group(1).upper() if match else None
    return letter if letter is not None and letter in letters else None


def extract_boxed(text: str) -> str | None:
    r"""The content of the last complete ``\boxed{...}``, with nested braces, or None if there is none."""
    for match in reversed(list(BOXED.finditer(text))):
        depth, start = 1, match.end()
        for mark in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):  # an escaped brace is skipped with its backslash
            depth += {"{": 1, "}": -1}.get(mark.group(), 0)
            if depth == 0:
                return text[start : start + mark.start()].strip()
    return None


def extract_number(text: str) -> str | None:
    """The last number written in ``text`` (commas allowed as thousands separators), or None."""
    matches = _NUMBER.findall(text)
    return matches[-1] if matches else None


def extract_code(text: str, defines: str | None = None) -> str | None:
    """The last fenced code block, or the last that defines the function ``defines`` if any does; None without a block.

    A last block that was not closed counts: the response was cut off in it.
    """
    blocks = re.findall(r"^[ \t]*```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:^[ \t]*```|\Z)", text, _BLOCK_FLAGS)
    if not blocks:
        return None
    if defines is not None:
        pattern = re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(defines)}\b", re.MULTILINE)
        blocks = [b for b in blocks if pattern.search(b)] or blocks
    return str(blocks[-1])


_BLOCK_FLAGS = re.DOTALL | re.MULTILINE | re.IGNORECASE


def normalise(text: str) -> str:
    """Text for comparison: NFKC, case folded, no punctuation or English articles, single spaces.

    A sign or a decimal point between digits survives, so that 3.5, 35 and -35 stay different.
    """
    text = unicodedata.normalize("NFKC", text).replace("−", "-").casefold()
    text = _THOUSANDS.sub("", text)
    out = []
    for i, char in enumerate(text):
        before, after = text[i - 1] if i else " ", text[i + 1] if i + 1 < len(text) else " "
        number_mark = (char == "." and before.isdigit() and after.isdigit()) or (
            char == "-" and after.isdigit() and not before.isalnum()
        )
        symbol = unicodedata.category(char)[0] in "PZC" and char not in "%"
        out.append(" " if symbol and not number_mark else char)
    text = "".join(out)
    without = " ".join(_ARTICLES.sub(" ", text).split())
    return without or " ".join(text.split())  # an answer that is itself an article stays what it is


def as_number(text: str) -> Decimal | None:
    """The value of a text that is one number and nothing else, or None."""
    cleaned = _THOUSANDS.sub("", text.strip().strip("$")).replace("−", "-").rstrip(".")
    try:
        value = Decimal(cleaned)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def without_markup(text: str) -> str:
    r"""``\text{5\%}`` as ``5%``."""
    return re.sub(r"\\([%$#&_])", r"\1", _TEXT_COMMAND.sub(r"\1", text))


def same_value(given: str, answer: str) -> bool:
    """Equal as numbers if both are numbers, else equal and not empty after normalisation."""
    left, right = as_number(given), as_number(answer)
    if left is not None and right is not None:
        return left == right
    return bool(normalise(given)) and normalise(given) == normalise(answer)
