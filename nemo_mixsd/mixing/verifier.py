"""The rule-based verifier: does a text give the answer? Also the one place where answers are extracted from text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Protocol, get_args

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.types import VerifierName

VERIFIERS: tuple[VerifierName, ...] = get_args(VerifierName)

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
    r"(?!\w|[.,]\d)"  # never the head of a longer number, such as the 1 of 1,000km
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ARTICLES = re.compile(r"\b(?:the|a|an)\b")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}")


def extract_boxed(text: str) -> str | None:
    r"""The content of the last complete ``\boxed{...}``, with nested braces, or None if there is none."""
    for match in reversed(list(_BOXED.finditer(text))):
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


class Verifier(Protocol):
    """Decides whether a response gives one of the accepted answers."""

    name: VerifierName

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if ``text`` gives any of ``answers``."""
        ...

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Why ``text`` is rejected, in a few words."""
        ...

    def canonical(self, answer: str) -> str:
        """The shortest response that gives ``answer``; a verifier that rejects it cannot be used for the answer."""
        ...


class ContainsVerifier:
    """The normalised answer stands in the normalised text, at word boundaries."""

    name: VerifierName = "contains"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if any answer stands in ``text`` as whole words."""
        haystack = f" {normalise(text)} "
        needles = [normalise(answer) for answer in answers]
        return any(needle and f" {needle} " in haystack for needle in needles)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name the answer that is missing."""
        return f"{answers[0]!r} does not stand in the text"

    def canonical(self, answer: str) -> str:
        """The answer itself."""
        return answer


class ExactVerifier:
    """The whole normalised text is the normalised answer."""

    name: VerifierName = "exact"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if the text is one of the answers and nothing else."""
        given = normalise(text)
        return bool(given) and any(given == normalise(answer) for answer in answers)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name the answer that the text should have been."""
        return f"the text is not just {answers[0]!r}"

    def canonical(self, answer: str) -> str:
        """The answer itself."""
        return answer


class BoxedVerifier:
    r"""The last ``\boxed{...}`` holds the answer: equal as numbers, else equal normalised."""

    name: VerifierName = "boxed"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if the last box holds one of the answers."""
        given = extract_boxed(text)
        if given is None:
            return False
        return any(same_value(_without_markup(given), _without_markup(answer)) for answer in answers)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name what the box holds, or that there is none."""
        given = extract_boxed(text)
        return "no boxed answer" if given is None else f"the box holds {given!r}, not {answers[0]!r}"

    def canonical(self, answer: str) -> str:
        r"""The answer in ``\boxed{}``."""
        return f"\\boxed{{{answer}}}"


class NumberVerifier:
    """The last number in the text equals the answer, which must be a number."""

    name: VerifierName = "number"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if the last number of the text has the value of one of the answers."""
        given = self._given(text)
        value = None if given is None else as_number(given)
        return value is not None and any(value == as_number(answer) for answer in answers)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name the last number."""
        given = self._given(text)
        return "no number in the text" if given is None else f"the last number is {given}, not {answers[0]}"

    def canonical(self, answer: str) -> str:
        """The answer itself."""
        return answer

    def _given(self, text: str) -> str | None:
        boxed = extract_boxed(text)
        return extract_number(boxed if boxed is not None else text)


def _without_markup(text: str) -> str:
    r"""``\text{5\%}`` as ``5%``."""
    return re.sub(r"\\([%$#&_])", r"\1", _TEXT_COMMAND.sub(r"\1", text))


def same_value(given: str, answer: str) -> bool:
    """Equal as numbers if both are numbers, else equal and not empty after normalisation."""
    left, right = as_number(given), as_number(answer)
    if left is not None and right is not None:
        return left == right
    return bool(normalise(given)) and normalise(given) == normalise(answer)


_CLASSES: dict[VerifierName, type[Verifier]] = {
    "contains": ContainsVerifier,
    "exact": ExactVerifier,
    "boxed": BoxedVerifier,
    "number": NumberVerifier,
}


def make_verifier(name: str) -> Verifier:
    """The verifier of that name.

    Raises:
        ConfigError: There is none; the text lists those that exist.
    """
    for known, cls in _CLASSES.items():
        if name == known:
            return cls()
    raise ConfigError(f"mixing.verifier: no verifier {name!r}; choose one of {', '.join(VERIFIERS)}")
